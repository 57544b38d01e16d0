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
        let key = key(text);
        match key {
            ACCEPT => Self::Accept,
            CONNECTION => Self::Connection,
            CONTENT_LENGTH => Self::ContentLength,
            CONTENT_TYPE => Self::ContentType,
            DATE => Self::Date,
            EXPECT => Self::Expect,
            FORWARDED => Self::Forwarded,
            HOST => Self::Host,
            KEEP_ALIVE => Self::KeepAlive,
            MAX_FORWARDS => Self::MaxForwards,
            PROXY_CONNECTION => Self::ProxyConnection,
            REFERER => Self::Referer,
            TE => Self::Te,
            // Of seventeen bytes, the one in the middle is at neither end.
            TRANSFER_ENCODING if text[8] == b'-' => Self::TransferEncoding,
            UPGRADE => Self::Upgrade,
            USER_AGENT => Self::UserAgent,
            VIA => Self::Via,
            X_FORWARDED_FOR => Self::XForwardedFor,
            X_FORWARDED_HOST => Self::XForwardedHost,
            X_FORWARDED_PROTO if matches!(text[8], b'd' | b'D') => Self::XForwardedProto,
            X_REAL_IP => Self::XRealIp,
            _ if has_underscore(text, key) => Self::of_underscored(text),
            (12.., X_FORWAR, _) if is_x_forwarded(text) => Self::XForwarded,
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

/// The length of a name, its first and its last bytes.
type Key = (usize, u64, u64);

const ACCEPT: Key = key(b"accept");
const CONNECTION: Key = key(b"connection");
const CONTENT_LENGTH: Key = key(b"content-length");
const CONTENT_TYPE: Key = key(b"content-type");
const DATE: Key = key(b"date");
const EXPECT: Key = key(b"expect");
const FORWARDED: Key = key(b"forwarded");
const HOST: Key = key(b"host");
const KEEP_ALIVE: Key = key(b"keep-alive");
const MAX_FORWARDS: Key = key(b"max-forwards");
const PROXY_CONNECTION: Key = key(b"proxy-connection");
const REFERER: Key = key(b"referer");
const TE: Key = key(b"te");
const TRANSFER_ENCODING: Key = key(b"transfer-encoding");
const UPGRADE: Key = key(b"upgrade");
const USER_AGENT: Key = key(b"user-agent");
const VIA: Key = key(b"via");
const X_FORWARDED_FOR: Key = key(b"x-forwarded-for");
const X_FORWARDED_HOST: Key = key(b"x-forwarded-host");
const X_FORWARDED_PROTO: Key = key(b"x-forwarded-proto");
const X_REAL_IP: Key = key(b"x-real-ip");
const X_FORWAR: u64 = key(X_FORWARDED).1;

/// The bytes are the first eight and the last eight of a name, or four or one if there are no more, in the case that most
/// senders use. Up to sixteen bytes that is all of it. A name is a token, and setting a bit turns no other of its bytes
/// into a letter or a hyphen.
const fn key(text: &[u8]) -> Key {
    let (first, last) = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64)
    } else {
        match text {
            [] => (0, 0),
            [one] => (*one as u64, 0),
            [one, two] => (*one as u64, *two as u64),
            [one, two, three, ..] => (*one as u64, ((*two as u64) << 8) | *three as u64),
        }
    };
    (text.len(), first | LOWER, last | LOWER)
}

/// Eight bytes of one, and of the bit that makes a letter lower case.
const EACH: u64 = u64::from_ne_bytes([1; 8]);
const LOWER: u64 = EACH * 0x20;

/// Whether one of its bytes is `_`, which the bit that is set turns into what no token contains.
fn has_underscore(text: &[u8], (length, first, last): Key) -> bool {
    const UNDERSCORE: u64 = (b'_' | 0x20) as u64;
    let has = |word: u64| {
        let zero = word ^ (EACH * UNDERSCORE);
        zero.wrapping_sub(EACH) & !zero & (EACH << 7) != 0
    };
    match length {
        // Too few to be worth it.
        ..4 => text.contains(&b'_'),
        4..=16 => has(first) || has(last),
        _ => has(first) || has(last) || text[8..length - 8].contains(&b'_'),
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
