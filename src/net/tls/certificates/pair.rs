//! Two files become a certificate with its key.
//!
//! The problem: of the ten ways in which these files are wrong, rustls would tell most when the first client comes. So
//! everything that can be known is looked at here: is it PEM, is the key one, is it this certificate's, what comes
//! first.
//!
//! Not here: which certificate a client is shown (`choice`), and when the files are read again (`renewal`).

use super::fault::{Fault, Instead};
use super::leaf::Leaf;
use crate::config::{CertificateFiles, contents};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use std::path::Path;
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::parse_x509_certificate;

/// A certificate that can be shown.
#[derive(Clone, Debug)]
pub struct Pair {
    pub files: CertificateFiles,
    pub leaf: Leaf,
    pub chain: Chain,
    pub certified: Arc<CertifiedKey>,
}

/// What follows the certificate in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Nothing is missing, as far as the file tells.
    Whole,
    /// The certificate is alone, and says where its issuer's is to be had: it should be here.
    Alone,
    /// The certificate at this place (from 1) did not issue the one before it.
    Stray(usize),
}

impl Pair {
    /// Reads the files.
    ///
    /// # Errors
    /// The first fault of them.
    pub fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, Fault> {
        let chain = chain(&files.certificate)?;
        let key = key(&files.key)?;
        let parsed: Option<Vec<X509Certificate<'_>>> = chain
            .iter()
            .map(|der| parse_x509_certificate(der).ok().map(|(_, certificate)| certificate))
            .collect();
        let parsed = parsed.ok_or_else(|| Fault::NotX509(files.certificate.clone()))?;
        let leaf = parsed.first().and_then(Leaf::of);
        let leaf = leaf.ok_or_else(|| Fault::NotX509(files.certificate.clone()))?;
        let order = Chain::of(&parsed);
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|_| Fault::UnknownKey(files.key.clone()))?;
        let certified = CertifiedKey::new(chain.clone(), key);
        match certified.keys_match() {
            Ok(()) => Ok(Self { files: files.clone(), leaf, chain: order, certified: Arc::new(certified) }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(wrong_key(files, chain, &certified))
            }
            Err(error) => Err(Fault::Refused(files.certificate.clone(), error)),
        }
    }
}

/// The key is not the first certificate's. Whose is it?
fn wrong_key(files: &CertificateFiles, chain: Vec<CertificateDer<'static>>, tried: &CertifiedKey) -> Fault {
    let CertificateFiles { certificate, key } = files.clone();
    let is_its = |der| CertifiedKey::new(vec![der], Arc::clone(&tried.key)).keys_match().is_ok();
    match chain.into_iter().position(is_its) {
        Some(place) => Fault::NotFirst { certificate, key, place: place + 1 },
        None => Fault::WrongKey { certificate, key },
    }
}

impl Chain {
    fn of(chain: &[X509Certificate<'_>]) -> Self {
        let pairs = chain.iter().zip(chain.iter().skip(1));
        let mut issued = pairs.map(|(one, next)| one.issuer().as_raw() == next.subject().as_raw());
        match (chain, issued.position(|is_issued| !is_issued)) {
            (_, Some(place)) => Self::Stray(place + 2),
            ([alone], None) if has_issuer_elsewhere(alone) => Self::Alone,
            _ => Self::Whole,
        }
    }
}

/// Public authorities say where the certificate of the issuer is (RFC 5280 §4.2.2.1). A root of a private one, which its clients
/// have, says nothing.
fn has_issuer_elsewhere(certificate: &X509Certificate<'_>) -> bool {
    certificate.iter_extensions().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            access.accessdescs.iter().any(|it| it.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS)
        }
        _ => false,
    })
}

/// All certificates of a file, in their order.
pub fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(Fault::NoCertificate(file.to_owned(), Instead::of(&bytes))),
        Ok(chain) => Ok(chain),
        Err(error) => Err(broken(file, &error)),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let bytes = read(file)?;
    // PKCS#8 says so in the first line of the block, OpenSSL's older form in the second.
    let is_encrypted = [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| memchr::memmem::find(&bytes, mark).is_some());
    if is_encrypted {
        return Err(Fault::EncryptedKey(file.to_owned()));
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(Fault::NoKey(file.to_owned(), Instead::of(&bytes))),
        Err(error) => Err(broken(file, &error)),
    }
}

/// What does not fit together, without the line itself: it may be a part of a key.
fn broken(file: &Path, error: &pem::Error) -> Fault {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no -----END line",
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is no whole one",
        pem::Error::Base64Decode(_) => "a block is not in Base64",
        _ => "it is not in PEM",
    };
    Fault::BrokenPem(file.to_owned(), why)
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    match contents::read(file) {
        Err(error) => Err(Fault::unreadable(file, error)),
        Ok(bytes) if bytes.len() > contents::MOST => Err(Fault::TooLarge(file.to_owned())),
        Ok(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Folder, made, made_between, openssl};
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair};
    use rustls::crypto::ring::default_provider;
    use std::io::ErrorKind;

    fn read_pair(certificate: &Path, key: &Path) -> Result<Pair, Fault> {
        let files = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
        Pair::read(&files, &default_provider())
    }

    /// What is told of two files, with `DIR` for their folder.
    fn told(folder: &Folder, certificate: &str, key: &str) -> String {
        match read_pair(&folder.path(certificate), &folder.path(key)) {
            Ok(pair) => format!("{:?} {:?}", pair.leaf.names, pair.chain),
            Err(fault) => fault.to_string().replace(&*folder.path("").to_string_lossy(), "DIR/"),
        }
    }

    #[test]
    fn keys_of_every_kind_are_read() {
        let folder = Folder::new();
        for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = KeyPair::generate_for(kind).unwrap();
            let params = CertificateParams::new(["A.example".to_owned(), "192.0.2.1".to_owned()]).unwrap();
            folder.write("chain.pem", params.self_signed(&key).unwrap().pem());
            folder.write("key.pem", key.serialize_pem());
            assert_eq!(told(&folder, "chain.pem", "key.pem"), r#"["a.example", "192.0.2.1"] Whole"#);
        }
    }

    #[test]
    fn keys_of_every_form_are_read() {
        let folder = Folder::new();
        for (make, begins) in [
            ("genrsa -traditional -out key.pem 2048", "-----BEGIN RSA PRIVATE KEY-----"),
            ("genrsa -out key.pem 2048", "-----BEGIN PRIVATE KEY-----"),
            ("ecparam -name prime256v1 -genkey -out key.pem", "-----BEGIN EC PARAMETERS-----"),
            ("ecparam -name secp384r1 -genkey -noout -out key.pem", "-----BEGIN EC PRIVATE KEY-----"),
            ("genpkey -algorithm ed25519 -out key.pem", "-----BEGIN PRIVATE KEY-----"),
        ] {
            if !openssl(&folder, make) {
                return;
            }
            let text = std::fs::read_to_string(folder.path("key.pem")).unwrap();
            assert!(text.starts_with(begins), "{make}: {text}");
            openssl(
                &folder,
                "req -x509 -key key.pem -subj /CN=a -addext subjectAltName=DNS:a -out chain.pem",
            );
            assert_eq!(told(&folder, "chain.pem", "key.pem"), r#"["a"] Whole"#, "{make}");
            // Both in one file, as HAProxy has it.
            let chain = std::fs::read_to_string(folder.path("chain.pem")).unwrap();
            folder.write("both.pem", text + &chain);
            assert_eq!(told(&folder, "both.pem", "both.pem"), r#"["a"] Whole"#, "{make}");
        }
    }

    #[test]
    fn a_key_that_ronde_cannot_use_is_told_of() {
        let folder = Folder::new();
        let good = made(&["a.example"]);
        folder.write("chain.pem", &good.chain);
        for (make, fault) in [
            (
                "genpkey -algorithm ed25519 -aes256 -pass pass:secret -out key.pem",
                "the key in DIR/key.pem is encrypted, and nobody is there to give the passphrase at a start: \
                 `openssl pkey -in DIR/key.pem -out NEW` takes it off",
            ),
            (
                "genrsa -traditional -aes256 -passout pass:secret -out key.pem 2048",
                "the key in DIR/key.pem is encrypted, and nobody is there to give the passphrase at a start: \
                 `openssl pkey -in DIR/key.pem -out NEW` takes it off",
            ),
            (
                "genrsa -out key.pem 1024",
                "the key in DIR/key.pem is of a kind that ronde does not have: make one of ECDSA (P-256 or P-384), \
                 RSA (2048 bits or more) or Ed25519",
            ),
            (
                "ecparam -name secp521r1 -genkey -noout -out key.pem",
                "the key in DIR/key.pem is of a kind that ronde does not have: make one of ECDSA (P-256 or P-384), \
                 RSA (2048 bits or more) or Ed25519",
            ),
        ] {
            if !openssl(&folder, make) {
                return;
            }
            assert_eq!(told(&folder, "chain.pem", "key.pem"), fault, "{make}");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_file() {
        let folder = Folder::new();
        let (good, other) = (made(&["a.example"]), made(&["b.example"]));
        folder.write("chain.pem", &good.chain);
        folder.write("key.pem", &good.key);
        folder.write("other.pem", &other.chain);
        folder.write("other-key.pem", &other.key);
        folder.write("late-leaf.pem", other.chain.clone() + &good.chain);
        folder.write("empty.pem", "");
        folder.write("cut.pem", &good.chain[..good.chain.len() / 2]);
        folder.write("cut-key.pem", &good.key[..good.key.len() / 2]);
        folder.write("noise.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
        folder.write("hello.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
        folder.write("hello-key.pem", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n");
        folder.write("der.pem", [0x30, 0x82, 1, 0]);
        folder.write("large.pem", vec![b'\n'; (1 << 20) + 1]);
        for (certificate, key, fault) in [
            ("chain.pem", "key.pem", r#"["a.example"] Whole"#),
            ("missing.pem", "key.pem", "cannot read DIR/missing.pem: No such file or directory (os error 2)"),
            ("", "key.pem", "cannot read DIR/: Is a directory (os error 21)"),
            ("chain.pem", "", "cannot read DIR/: Is a directory (os error 21)"),
            (
                "empty.pem",
                "key.pem",
                "DIR/empty.pem has no certificate in it, which begins with -----BEGIN CERTIFICATE-----; it is empty",
            ),
            (
                "chain.pem",
                "empty.pem",
                "DIR/empty.pem has no private key in it, which begins with -----BEGIN PRIVATE KEY-----; it is empty",
            ),
            (
                "key.pem",
                "chain.pem",
                "DIR/key.pem has no certificate in it, which begins with -----BEGIN CERTIFICATE-----",
            ),
            (
                "der.pem",
                "key.pem",
                "DIR/der.pem has no certificate in it, which begins with -----BEGIN CERTIFICATE-----; it is in DER: \
                 `openssl x509 -inform der` or `openssl pkey -inform der` makes PEM",
            ),
            (
                "large.pem",
                "key.pem",
                "DIR/large.pem is larger than 1 MiB, and so neither a certificate nor a key",
            ),
            (
                "cut.pem",
                "key.pem",
                "DIR/cut.pem is damaged or cut off (a block has no -----END line); write it again",
            ),
            (
                "chain.pem",
                "cut-key.pem",
                "DIR/cut-key.pem is damaged or cut off (a block has no -----END line); write it again",
            ),
            (
                "noise.pem",
                "key.pem",
                "DIR/noise.pem is damaged or cut off (a block is not in Base64); write it again",
            ),
            ("hello.pem", "key.pem", "DIR/hello.pem has a block that is called a certificate and is none"),
            (
                "chain.pem",
                "hello-key.pem",
                "the key in DIR/hello-key.pem is of a kind that ronde does not have: make one of ECDSA (P-256 or \
                 P-384), RSA (2048 bits or more) or Ed25519",
            ),
            (
                "chain.pem",
                "other-key.pem",
                "the key in DIR/other-key.pem does not belong to the certificate in DIR/chain.pem; if only one of \
                 them is new, the other is missing",
            ),
            (
                "late-leaf.pem",
                "key.pem",
                "the certificate for the key in DIR/key.pem is number 2 in DIR/late-leaf.pem; it has to be the \
                 first, and those that vouch for it follow",
            ),
        ] {
            assert_eq!(told(&folder, certificate, key), fault, "{certificate} {key}");
        }
    }

    #[test]
    fn a_file_that_ronde_may_not_read_is_told_of_with_its_owner() {
        let denied = || ErrorKind::PermissionDenied.into();
        let fault = Fault::unreadable(Path::new("/"), denied()).to_string();
        assert!(
            fault.contains("it belongs to user 0 and group 0 with mode 755, and ronde runs as user "),
            "{fault}"
        );
        assert!(fault.contains("LoadCredential="), "{fault}");
        let hidden = Fault::unreadable(Path::new("/no/such"), denied());
        assert!(hidden.to_string().contains("a directory on its path is closed to ronde's user"), "{hidden}");
    }

    #[test]
    fn a_chain_is_followed_from_issuer_to_issuer() {
        let folder = Folder::new();
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params, KeyPair::generate().unwrap())
        };
        let ((root, root_key), (middle, middle_key)) = (authority("root"), authority("middle"));
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let middle_pem = middle.signed_by(&middle_key, &Issuer::new(root, root_key)).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(["a.example".to_owned()]).unwrap();
        // caIssuers: http://a
        let access = b"\x30\x16\x30\x14\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x08http://a";
        let access = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access.to_vec());
        leaf.custom_extensions.push(access);
        let leaf = leaf.signed_by(&key, &Issuer::new(middle, middle_key)).unwrap().pem();
        folder.write("key.pem", key.serialize_pem());
        for (chain, found) in [
            (vec![&leaf], Chain::Alone),
            (vec![&leaf, &middle_pem], Chain::Whole),
            (vec![&leaf, &middle_pem, &root_pem], Chain::Whole),
            (vec![&leaf, &root_pem, &middle_pem], Chain::Stray(2)),
            (vec![&leaf, &middle_pem, &leaf], Chain::Stray(3)),
        ] {
            folder.write("chain.pem", chain.into_iter().cloned().collect::<String>());
            assert_eq!(read_pair(&folder.path("chain.pem"), &folder.path("key.pem")).unwrap().chain, found);
        }
    }

    #[test]
    fn dates_beyond_every_clock_are_dates() {
        let folder = Folder::new();
        let old = made_between(&["a.example"], 1951, 9999);
        folder.write("chain.pem", old.chain);
        folder.write("key.pem", old.key);
        assert_eq!(told(&folder, "chain.pem", "key.pem"), r#"["a.example"] Whole"#);
    }
}
