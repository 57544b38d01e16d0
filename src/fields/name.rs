//! The field names that mean something to a proxy.
//!
//! The problem: a head is asked twenty times whether it has a certain field, and each time every name in it was
//! compared, without case, with a text. So a name is recognised once, by its length first, and is a number from then
//! on; and nobody can misspell one.
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

/// A name of up to this length is recognised by one comparison of numbers.
const WORD: usize = 16;

/// The longest names above are one byte longer.
const LONGEST: usize = WORD + 1;

impl Name {
    pub fn of(text: &[u8]) -> Self {
        let (start, end) = text.split_at(text.len().min(WORD));
        // In the case that most senders use. A name is a token, and setting a bit turns no other of its bytes into a
        // letter or a hyphen.
        match (word(start), end) {
            (ACCEPT, []) => Self::Accept,
            (CONNECTION, []) => Self::Connection,
            (CONTENT_LENGTH, []) => Self::ContentLength,
            (CONTENT_TYPE, []) => Self::ContentType,
            (DATE, []) => Self::Date,
            (EXPECT, []) => Self::Expect,
            (FORWARDED, []) => Self::Forwarded,
            (HOST, []) => Self::Host,
            (KEEP_ALIVE, []) => Self::KeepAlive,
            (MAX_FORWARDS, []) => Self::MaxForwards,
            (PROXY_CONNECTION, []) => Self::ProxyConnection,
            (REFERER, []) => Self::Referer,
            (TE, []) => Self::Te,
            (TRANSFER_ENCODIN, b"g" | b"G") => Self::TransferEncoding,
            (UPGRADE, []) => Self::Upgrade,
            (USER_AGENT, []) => Self::UserAgent,
            (VIA, []) => Self::Via,
            (X_FORWARDED_FOR, []) => Self::XForwardedFor,
            (X_FORWARDED_HOST, []) => Self::XForwardedHost,
            (X_FORWARDED_PROT, b"o" | b"O") => Self::XForwardedProto,
            (X_REAL_IP, []) => Self::XRealIp,
            _ if text.contains(&b'_') => Self::of_underscored(text),
            _ if is_x_forwarded(text) => Self::XForwarded,
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

const ACCEPT: u128 = word(b"accept");
const CONNECTION: u128 = word(b"connection");
const CONTENT_LENGTH: u128 = word(b"content-length");
const CONTENT_TYPE: u128 = word(b"content-type");
const DATE: u128 = word(b"date");
const EXPECT: u128 = word(b"expect");
const FORWARDED: u128 = word(b"forwarded");
const HOST: u128 = word(b"host");
const KEEP_ALIVE: u128 = word(b"keep-alive");
const MAX_FORWARDS: u128 = word(b"max-forwards");
const PROXY_CONNECTION: u128 = word(b"proxy-connection");
const REFERER: u128 = word(b"referer");
const TE: u128 = word(b"te");
const TRANSFER_ENCODIN: u128 = word(b"transfer-encodin");
const UPGRADE: u128 = word(b"upgrade");
const USER_AGENT: u128 = word(b"user-agent");
const VIA: u128 = word(b"via");
const X_FORWARDED_FOR: u128 = word(b"x-forwarded-for");
const X_FORWARDED_HOST: u128 = word(b"x-forwarded-host");
const X_FORWARDED_PROT: u128 = word(b"x-forwarded-prot");
const X_REAL_IP: u128 = word(b"x-real-ip");

/// At most [`WORD`] bytes of a name as a number, without case.
const fn word(text: &[u8]) -> u128 {
    let mut word = 0;
    let mut at = 0;
    while at < text.len() {
        word = word << 8 | (text[at] | 0x20) as u128;
        at += 1;
    }
    word
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
