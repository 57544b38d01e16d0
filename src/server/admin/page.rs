//! The live page, and what a browser lets it do.
//!
//! The problem: the page shows names from the configuration and causes that contain what peers sent, and it can reach the
//! listener that drains backends. A mistake in its script must not let such a text run. So the browser is told which
//! script and which style are the page's: those with these hashes, and nothing else, not even from ronde itself. A hash
//! rather than a nonce: the page is the same for everybody, and nothing has to be unpredictable.
//!
//! Not here: what the page shows. That is in `page.html`.

/// The whole page.
pub const HTML: &str = include_str!("page.html");

/// Its Content-Security-Policy: its own script and style, its icon, and the event stream. When the page has changed, the
/// test below says the new one.
pub const POLICY: &str = "default-src 'none'; \
     script-src 'sha256-hkjd6XeWVTj7VfnmTIKnYLwyVSdaMWpLSVYpFPqQ1Wk='; \
     style-src 'sha256-C3yTRhGkh4vj26psByix8E6Nj7xfr0UDthFAJgtns6A='; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    /// What is between the tags of the only element of this name.
    fn content(name: &str) -> &'static str {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        assert_eq!(HTML.matches(&open).count(), 1, "{name}");
        let (_, rest) = HTML.split_once(&open).unwrap();
        rest.split_once(&close).unwrap().0
    }

    /// As a policy names what it allows (CSP3 §2.3.1), with the SHA-256 of the TLS library.
    fn source(text: &str) -> String {
        let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let hash = suite.common.hash_provider.hash(text.as_bytes());
        format!("'sha256-{}'", base64(hash.as_ref()))
    }

    fn base64(bytes: &[u8]) -> String {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let groups = bytes.chunks(3).map(|group| {
            let bits = (0..3).fold(0, |bits, place| bits << 8 | usize::from(*group.get(place).unwrap_or(&0)));
            let digit = |place| match place <= group.len() {
                true => char::from(digits[bits >> (18 - 6 * place) & 63]),
                false => '=',
            };
            (0..4).map(digit).collect::<String>()
        });
        groups.collect()
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_policy_allows_the_script_and_the_style_of_the_page() {
        for (directive, element) in [("script-src", "script"), ("style-src", "style")] {
            let needed = format!("{directive} {}; ", source(content(element)));
            assert!(POLICY.contains(&needed), "page.html has changed: the policy needs {needed}");
        }
    }

    /// The policy would keep these from working, and nobody would notice.
    #[test]
    fn the_page_has_nothing_that_the_policy_forbids() {
        for forbidden in
            [" style=", " onclick=", " onload=", " src=", "<link rel=\"stylesheet", "@import", "url("]
        {
            assert!(!HTML.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn no_text_becomes_html() {
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"]
        {
            assert!(!HTML.contains(forbidden), "{forbidden}");
        }
    }
}
