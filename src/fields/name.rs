//! The field names that mean something to a proxy.
//!
//! The problem: a head is asked twenty times whether it has a certain field, and each time every name in it was
//! compared, without case, with a text. So a name is recognised once, by its length and two words of its bytes, and is a
//! number from then on; and nobody can misspell one.
//!
//! Not here: what becomes of a field (`forward`).

/// A field name, as far as ronde has to know it. Names compare without case (RFC 9110 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Accept,
    Connection,
    ContentLength,
    ContentType,
    Date,
    Expect,
    Forwarded,
    Host,
    KeepAlive,
    MaxForwards,
    ProxyConnection,
    Referer,
    Te,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRealIp,
    /// Any other that begins with `X-Forwarded-`.
    XForwarded,
    /// One that becomes a field of the connection, of the framing, of the route or of the client's identity where `_`
    /// is read as `-`: CGI and WSGI merge the two, and `X_Forwarded_For` would be believed there.
    Disguised,
    /// Any other. It is for somebody else, and passes.
    Other,
}

/// How those begin that say who the client is.
const X_FORWARDED: &[u8] = b"x-forwarded-";

/// The longest of the names above.
const LONGEST: usize = b"transfer-encoding".len();

impl Name {
    pub fn of(text: &[u8]) -> Self {
        let ends = ends(text);
        match (text.len(), ends) {
            (6, ACCEPT) => Self::Accept,
            (10, CONNECTION) => Self::Connection,
            (14, CONTENT_LENGTH) => Self::ContentLength,
            (12, CONTENT_TYPE) => Self::ContentType,
            (4, DATE) => Self::Date,
            (6, EXPECT) => Self::Expect,
            (9, FORWARDED) => Self::Forwarded,
            (4, HOST) => Self::Host,
            (10, KEEP_ALIVE) => Self::KeepAlive,
            (12, MAX_FORWARDS) => Self::MaxForwards,
            (16, PROXY_CONNECTION) => Self::ProxyConnection,
            (7, REFERER) => Self::Referer,
            (2, TE) => Self::Te,
            // Of seventeen bytes, the one in the middle is at neither end.
            (17, TRANSFER_ENCODING) if text[8] == b'-' => Self::TransferEncoding,
            (7, UPGRADE) => Self::Upgrade,
            (10, USER_AGENT) => Self::UserAgent,
            (3, VIA) => Self::Via,
            (15, X_FORWARDED_FOR) => Self::XForwardedFor,
            (16, X_FORWARDED_HOST) => Self::XForwardedHost,
            (17, X_FORWARDED_PROTO) if matches!(text[8], b'd' | b'D') => Self::XForwardedProto,
            (9, X_REAL_IP) => Self::XRealIp,
            _ if has_underscore(text, ends) => Self::of_underscored(text),
            (12.., (X_FORWAR, _)) if is_x_forwarded(text) => Self::XForwarded,
            _ => Self::Other,
        }
    }

    fn of_underscored(text: &[u8]) -> Self {
        // Whatever is longer than the longest name can only begin like one of ours.
        let mut plain = [0; LONGEST + 1];
        for (plain, &byte) in plain.iter_mut().zip(text) {
            *plain = if byte == b'_' { b'-' } else { byte };
        }
        let plain = Self::of(&plain[..text.len().min(LONGEST + 1)]);
        let is_ours = plain.is_of_connection()
            || plain.is_forwarding()
            || matches!(plain, Self::ContentLength | Self::Host | Self::Via | Self::Expect);
        if is_ours { Self::Disguised } else { Self::Other }
    }

    /// Whether it is about one connection, whether `Connection` nominates it or not (RFC 9110 §7.6.1).
    ///
    /// `Proxy-Authenticate` and `Proxy-Authorization` are not among them: since RFC 9110 §11.7 they are for the proxy
    /// that asked, which may stand on either side, and ronde never asks.
    pub fn is_of_connection(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether proxies say in it who the client is. From a stranger it is hearsay.
    pub fn is_forwarding(self) -> bool {
        matches!(
            self,
            Self::Forwarded
                | Self::XForwarded
                | Self::XForwardedFor
                | Self::XForwardedHost
                | Self::XForwardedProto
                | Self::XRealIp
        )
    }
}

type Ends = (u64, u64);

const ACCEPT: Ends = ends(b"accept");
const CONNECTION: Ends = ends(b"connection");
const CONTENT_LENGTH: Ends = ends(b"content-length");
const CONTENT_TYPE: Ends = ends(b"content-type");
const DATE: Ends = ends(b"date");
const EXPECT: Ends = ends(b"expect");
const FORWARDED: Ends = ends(b"forwarded");
const HOST: Ends = ends(b"host");
const KEEP_ALIVE: Ends = ends(b"keep-alive");
const MAX_FORWARDS: Ends = ends(b"max-forwards");
const PROXY_CONNECTION: Ends = ends(b"proxy-connection");
const REFERER: Ends = ends(b"referer");
const TE: Ends = ends(b"te");
const TRANSFER_ENCODING: Ends = ends(b"transfer-encoding");
const UPGRADE: Ends = ends(b"upgrade");
const USER_AGENT: Ends = ends(b"user-agent");
const VIA: Ends = ends(b"via");
const X_FORWARDED_FOR: Ends = ends(b"x-forwarded-for");
const X_FORWARDED_HOST: Ends = ends(b"x-forwarded-host");
const X_FORWARDED_PROTO: Ends = ends(b"x-forwarded-proto");
const X_REAL_IP: Ends = ends(b"x-real-ip");
const X_FORWAR: u64 = ends(X_FORWARDED).0;

/// The first and the last eight bytes of a name, or four or one if there are no more, in the case that most senders use.
/// Up to sixteen bytes that is all of it. A name is a token, and setting a bit turns no other of its bytes into a letter
/// or a hyphen.
const fn ends(text: &[u8]) -> Ends {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return (u64::from_le_bytes(*first) | LOWER, u64::from_le_bytes(*last) | LOWER);
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64);
        return (first | LOWER, last | LOWER);
    }
    match text {
        [] => (0, 0),
        [one] => (*one as u64 | 0x20, 0),
        [one, two] => (*one as u64 | 0x20, *two as u64 | 0x20),
        [one, two, three, ..] => (*one as u64 | 0x20, ((*two as u64 | 0x20) << 8) | *three as u64 | 0x20),
    }
}

/// Eight bytes of one, and of the bit that makes a letter lower case.
const EACH: u64 = u64::from_ne_bytes([1; 8]);
const LOWER: u64 = EACH * 0x20;

/// Whether one of its bytes is `_`, which the bit that is set turns into what no token contains.
fn has_underscore(text: &[u8], (first, last): Ends) -> bool {
    const UNDERSCORE: u64 = (b'_' | 0x20) as u64;
    let has = |word: u64| {
        let zero = word ^ (EACH * UNDERSCORE);
        zero.wrapping_sub(EACH) & !zero & (EACH << 7) != 0
    };
    match text.len() {
        // Too few to be worth it.
        ..4 => text.contains(&b'_'),
        4..=16 => has(first) || has(last),
        length => has(first) || has(last) || text[8..length - 8].contains(&b'_'),
    }
}

fn is_x_forwarded(text: &[u8]) -> bool {
    text.get(..X_FORWARDED.len()).is_some_and(|start| start.eq_ignore_ascii_case(X_FORWARDED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_without_case() {
        for (text, name) in [
            ("Accept", Name::Accept),
            ("CONNECTION", Name::Connection),
            ("Content-Length", Name::ContentLength),
            ("Content-Type", Name::ContentType),
            ("date", Name::Date),
            ("Expect", Name::Expect),
            ("Forwarded", Name::Forwarded),
            ("hOST", Name::Host),
            ("Keep-Alive", Name::KeepAlive),
            ("Max-Forwards", Name::MaxForwards),
            ("Proxy-Connection", Name::ProxyConnection),
            ("Referer", Name::Referer),
            ("TE", Name::Te),
            ("Transfer-Encoding", Name::TransferEncoding),
            ("Upgrade", Name::Upgrade),
            ("User-Agent", Name::UserAgent),
            ("Via", Name::Via),
            ("X-Forwarded-For", Name::XForwardedFor),
            ("X-Forwarded-Host", Name::XForwardedHost),
            ("X-Forwarded-Proto", Name::XForwardedProto),
            ("X-Forwarded-Port", Name::XForwarded),
            ("x-forwarded-", Name::XForwarded),
            ("X-Real-IP", Name::XRealIp),
            ("X-Forwarded", Name::Other),
            ("Content-Lengths", Name::Other),
            ("", Name::Other),
        ] {
            assert_eq!(Name::of(text.as_bytes()), name, "{text}");
        }
    }

    #[test]
    fn an_underscore_hides_nothing() {
        for disguised in [
            "X_Forwarded_For",
            "x_forwarded-port",
            "TRANSFER_ENCODING",
            "content_length",
            "X_REAL-IP",
            "keep_alive",
            "X_Forwarded_And_Much_Longer_Than_Any",
        ] {
            assert_eq!(Name::of(disguised.as_bytes()), Name::Disguised, "{disguised}");
        }
        for harmless in ["user_agent", "x_request_id", "_", "ho_st", "content_type", "transfer_encoding_"] {
            assert_eq!(Name::of(harmless.as_bytes()), Name::Other, "{harmless}");
        }
    }
}
