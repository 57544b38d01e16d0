//! The field names that a proxy has to recognise.
//!
//! The problem: a request takes about twenty look-ups of a field, and each would compare every name in the head as
//! text, without case. So a name is recognised once, by its length and two words of its bytes, and is an enum value
//! from then on. The compiler also catches a misspelled one.
//!
//! Not here: which fields are forwarded (`forward`).

use crate::config::as_cgi;

/// A field name, if ronde has to know it. Names compare without case (RFC 9110 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Accept,
    CdnLoop,
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
    /// Any other name that begins with `X-Forwarded-`.
    XForwarded,
    /// A name that means something to a proxy if its `_` and other signs are read as `-`: it would concern the connection, the
    /// framing, the route or the client's identity. CGI and WSGI do not tell them apart (RFC 3875 §4.1.18), and would believe
    /// `X_Forwarded_For`; many also `X.Forwarded.For`.
    Disguised,
    /// Any other name. It means nothing to ronde, and is forwarded.
    Other,
}

/// The prefix of most fields that describe the client.
const X_FORWARDED: &[u8] = b"x-forwarded-";

/// Length of the longest name above.
const LONGEST: usize = b"transfer-encoding".len();

impl Name {
    pub fn of(text: &[u8]) -> Self {
        let key = key(text);
        match key {
            ACCEPT => Self::Accept,
            CDN_LOOP => Self::CdnLoop,
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
            // The middle one of seventeen bytes is in neither word of the key.
            TRANSFER_ENCODING if text[8] == b'-' => Self::TransferEncoding,
            UPGRADE => Self::Upgrade,
            USER_AGENT => Self::UserAgent,
            VIA => Self::Via,
            X_FORWARDED_FOR => Self::XForwardedFor,
            X_FORWARDED_HOST => Self::XForwardedHost,
            X_FORWARDED_PROTO if matches!(text[8], b'd' | b'D') => Self::XForwardedProto,
            X_REAL_IP => Self::XRealIp,
            _ if text.iter().any(|&byte| as_cgi(byte) != byte.to_ascii_lowercase()) => {
                Self::of_disguised(text)
            }
            (12.., X_FORWAR, _) if is_x_forwarded(text) => Self::XForwarded,
            _ => Self::Other,
        }
    }

    fn of_disguised(text: &[u8]) -> Self {
        // A longer name can only match `X-Forwarded-`, which is a prefix.
        let mut plain = [0; LONGEST + 1];
        for (plain, &byte) in plain.iter_mut().zip(text) {
            *plain = as_cgi(byte);
        }
        let plain = Self::of(&plain[..text.len().min(LONGEST + 1)]);
        let is_ours = plain.is_of_connection()
            || plain.is_forwarding()
            || matches!(plain, Self::CdnLoop | Self::ContentLength | Self::Host | Self::Via | Self::Expect);
        if is_ours { Self::Disguised } else { Self::Other }
    }

    /// Whether it is hop-by-hop, even if `Connection` does not nominate it (RFC 9110 §7.6.1).
    ///
    /// `Proxy-Authenticate` and `Proxy-Authorization` are not: since RFC 9110 §11.7 they belong to the proxy that
    /// demands authentication, which may be on either side of ronde. ronde never demands it.
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

    /// Whether proxies use it to describe their client. From a client that is not a trusted proxy it proves nothing.
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

/// The length of a name, and two words: its first and its last bytes.
type Key = (usize, u64, u64);

const ACCEPT: Key = key(b"accept");
const CDN_LOOP: Key = key(b"cdn-loop");
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

/// The words hold the first eight and the last eight bytes of a name; of a name shorter than eight, four each; of one
/// shorter than four, all its bytes. Up to sixteen bytes they cover the whole name. Bit 0x20 is set in every byte,
/// which makes letters lower case. A name is a token, and in a token that bit turns no other byte into a letter or a
/// hyphen.
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

/// One, in each of eight bytes.
const EACH: u64 = u64::from_ne_bytes([1; 8]);
/// The bit that makes a letter lower case, in each of eight bytes.
const LOWER: u64 = EACH * 0x20;

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
            ("CDN-Loop", Name::CdnLoop),
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
    fn no_sign_in_place_of_a_hyphen_hides_anything() {
        for disguised in [
            "X_Forwarded_For",
            "x_forwarded-port",
            "TRANSFER_ENCODING",
            "content_length",
            "X_REAL-IP",
            "keep_alive",
            "cdn_loop",
            "X_Forwarded_And_Much_Longer_Than_Any",
            "X.Forwarded.For",
            "x!real~ip",
            "Transfer'Encoding",
            "X^Forwarded|Ssl",
        ] {
            assert_eq!(Name::of(disguised.as_bytes()), Name::Disguised, "{disguised}");
        }
        for harmless in [
            "a\x7fb_",
            "\x7f\x7f\x7f\x7f",
            "user_agent",
            "x_request_id",
            "_",
            "ho_st",
            "content_type",
            "transfer_encoding_",
            "x.request.id",
            "con.nection",
        ] {
            assert_eq!(Name::of(harmless.as_bytes()), Name::Other, "{harmless}");
        }
    }
}
