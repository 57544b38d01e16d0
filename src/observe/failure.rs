//! Every failure, with its status, its cause and its blame.
//!
//! The problem: a failure is reported three times: to the client (a status and a sentence), to the admin (a cause in
//! the access line) and to the health of a backend (whether it is to blame). If each place decided on its own, they
//! would contradict each other. So there is one closed table, and all three read it.
//!
//! Not here: how to react to a failure. `exchange` decides about retries, `backend` about health.

use std::fmt;

/// Which side is to blame for a failure. Only [`Blame::Backend`] counts against a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Client,
    Ronde,
    Backend,
}

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident $status:literal $token:literal $blame:ident $text:literal;)+) => {
        /// Everything that can go wrong with a request, or with a client's connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Failure { $($(#[$doc])* $name,)+ }

        impl Failure {
            /// Every failure there is, in the order of the table.
            pub const ALL: &'static [Failure] = &[$(Failure::$name),+];

            /// The status sent to the client, if no byte of a response has been sent yet.
            pub fn status(self) -> u16 {
                match self { $(Failure::$name => $status,)+ }
            }

            /// The error type of the `Proxy-Status` field (RFC 9209 §2.3).
            pub fn token(self) -> &'static str {
                match self { $(Failure::$name => $token,)+ }
            }

            /// Its name in the source.
            fn name(self) -> &'static str {
                match self { $(Failure::$name => stringify!($name),)+ }
            }

            /// The side that is to blame.
            pub fn blame(self) -> Blame {
                match self { $(Failure::$name => Blame::$blame,)+ }
            }

            /// What happened, as a sentence without a full stop.
            pub fn text(self) -> &'static str {
                match self { $(Failure::$name => $text,)+ }
            }
        }
    };
}

failures! {
    // The request head (RFC 9112 §2 to §3).
    TlsUnexpected        400 "http_request_error" Client "the client speaks TLS, and this listener does not";
    BareLineFeed         400 "http_request_error" Client "a line of the request head ends without a carriage return";
    MalformedRequestLine 400 "http_request_error" Client "the request line is malformed";
    MalformedField       400 "http_request_error" Client "a field line of the request is malformed";
    EmptyLines           400 "http_request_error" Client "too many empty lines before the request line";
    UnknownVersion       505 "http_request_error" Client "only HTTP/1.0 and HTTP/1.1 are supported";
    Target               400 "http_request_error" Client "the request target is not valid";
    AsteriskTarget       400 "http_request_error" Client "the request target `*` is for OPTIONS only";
    HostMissing          400 "http_request_error" Client "an HTTP/1.1 request needs a Host field";
    HostRepeated         400 "http_request_error" Client "there is more than one Host field";
    HostInvalid          400 "http_request_error" Client "the Host field is not a host and an optional port";
    HostUnknown          400 "http_request_error" Client "the request names no host, so there is no https address to send it to";
    ConnectMethod        501 "http_request_denied" Client "CONNECT is not supported: this is a gateway, not a forward proxy";
    PathAmbiguous        400 "http_request_error" Client "the path has a dot segment, an empty one, a backslash, a parameter or an odd percent-encoding, which may make it another path for a backend; access is restricted by path here";
    LastStop             501 "http_request_denied" Client "Max-Forwards is 0, and this proxy answers only a bodiless OPTIONS";
    Expectation          417 "http_request_error" Client "the only supported expectation is 100-continue";
    TargetTooLong        414 "http_request_error" Client "the request target is too long";
    HeadTooLarge         431 "http_request_error" Client "the request head is too large";
    TooManyFields        431 "http_request_error" Client "the request has too many field lines";
    TooManyOptions       400 "http_request_error" Client "the Connection field has too many members";
    HeadIncomplete       400 "http_request_error" Client "the connection ended in the middle of a request head";
    HeadTimeout          408 "http_request_error" Client "the request head did not arrive in time";
    OverBudget           503 "connection_limit_reached" Ronde "the memory for slow clients is used up, and this one gives way";

    // The header of the PROXY protocol. What sends none may not even speak HTTP, so it gets no answer.
    ProxyHeaderUntrusted  400 "http_request_denied" Client "a header of the PROXY protocol is believed from trusted proxies only (--trust-proxy)";
    ProxyHeaderMissing    400 "http_request_error" Client "the connection does not begin with a header of the PROXY protocol";
    ProxyHeaderMalformed  400 "http_request_error" Client "the header of the PROXY protocol is malformed";
    ProxyHeaderIncomplete 400 "http_request_error" Client "the connection ended in the middle of a header of the PROXY protocol";
    ProxyHeaderTimeout    408 "http_request_error" Client "the header of the PROXY protocol did not arrive in time";

    // The TLS handshake. Only plain HTTP in its place gets an answer.
    TlsMissing            400 "tls_protocol_error" Client "the connection is not encrypted, and this port is for HTTPS only";
    TlsHandshake          400 "tls_protocol_error" Client "the TLS handshake failed";
    TlsTimeout            408 "tls_protocol_error" Client "the TLS handshake did not end in time";

    // The request body (RFC 9112 §6 and §7).
    LengthAndCoding      400 "http_request_error" Client "Content-Length and Transfer-Encoding must not be combined";
    LengthRepeated       400 "http_request_error" Client "there is more than one Content-Length field";
    LengthInvalid        400 "http_request_error" Client "Content-Length is not a decimal number below 2^63";
    CodingInHttp10       400 "http_request_error" Client "HTTP/1.0 has no Transfer-Encoding";
    CodingInvalid        400 "http_request_error" Client "Transfer-Encoding must end with `chunked`, once";
    CodingUnknown        501 "http_request_error" Client "the only supported transfer coding is `chunked`";
    BodyTooLarge         413 "http_request_error" Client "the request body is too large";
    ChunkInvalid         400 "http_request_error" Client "the chunked coding of the request body is malformed";
    TrailerInvalid       400 "http_request_error" Client "the trailer section of the request is malformed";
    BodyIncomplete       400 "http_request_error" Client "the request ended before its body was complete";
    BodyTimeout          408 "http_request_error" Client "the request body did not arrive in time";
    BodyTooSlow          408 "http_request_error" Client "the request body arrived too slowly";

    // The client's connection. No response can be sent any more.
    ClientGone           400 "connection_terminated" Client "the client is gone";
    ClientStalled        408 "connection_write_timeout" Client "the client does not read its response";
    HalfClosed           400 "connection_terminated" Client "the client closed its half of the connection, and the backend stayed silent";

    // ronde itself, and what it lets nobody do.
    Loop                 508 "proxy_loop_detected" Client "the request has passed through this proxy before";
    TooManyOfClient      429 "connection_limit_reached" Client "there are too many connections from this client's address";
    Overloaded           503 "connection_limit_reached" Ronde "all workers are busy";
    ConnectionLimit      503 "connection_limit_reached" Ronde "there are too many connections";
    Descriptors          503 "proxy_internal_error" Ronde "the proxy has run out of file descriptors";
    Ports                503 "proxy_internal_error" Ronde "the proxy has no port left for a connection to the backend";
    Internal             500 "proxy_internal_error" Ronde "the proxy failed";

    // Whether a backend may be asked, and reaching it.
    AccessDenied         403 "http_request_denied" Ronde "this client's address is not let in here";
    NoRoute              404 "destination_not_found" Ronde "no route is configured for this host and path";
    NoBackend            503 "destination_unavailable" Ronde "no backend address is known";
    BackendsBusy         503 "connection_limit_reached" Ronde "every backend is at its limit of requests in flight";
    BackendsDrained      503 "destination_unavailable" Ronde "every backend is drained";
    Refused              502 "connection_refused" Backend "the backend refused the connection";
    SocketMissing        502 "destination_unavailable" Backend "the backend's socket is not there";
    SocketForbidden      502 "connection_refused" Backend "the backend's socket does not let this proxy in: see its mode and owner";
    Unreachable          502 "destination_ip_unroutable" Backend "the backend cannot be reached";
    ConnectTimeout       504 "connection_timeout" Backend "the backend did not accept the connection in time";
    BackendCertificate   502 "tls_certificate_error" Backend "the backend's certificate is not believed";
    BackendAlert         502 "tls_alert_received" Backend "the backend ended the TLS handshake with an alert";
    BackendTls           502 "tls_protocol_error" Backend "the TLS handshake with the backend failed";
    BackendTlsTimeout    504 "connection_timeout" Backend "the TLS handshake with the backend did not end in time";

    // The response head.
    BackendClosed        502 "connection_terminated" Backend "the backend closed the connection without a response";
    BackendReset         502 "connection_terminated" Backend "the backend reset the connection before a response";
    ResponseHeadCut      502 "http_response_incomplete" Backend "the backend closed the connection in the middle of its response head";
    SendTimeout          504 "connection_write_timeout" Backend "the backend does not read the request";
    ResponseTimeout      504 "http_response_timeout" Backend "the backend did not answer in time";
    ResponseMalformed    502 "http_protocol_error" Backend "the backend's response head is malformed";
    ResponseOptions      502 "http_protocol_error" Backend "the Connection field of the backend's response has too many members";
    ResponseHeadTooLarge 502 "http_response_header_section_size" Backend "the backend's response head is too large";
    ResponseFraming      502 "http_protocol_error" Backend "the framing of the backend's response is invalid";
    ResponseCoding       502 "http_response_transfer_coding" Backend "the backend's response has an unknown transfer coding";
    RetryStatus          502 "destination_unavailable" Backend "the backend's status is one of --retry-status";
    UpgradeUnasked       502 "http_upgrade_failed" Backend "the backend switched to a protocol that was not asked for";
    InterimFlood         502 "http_protocol_error" Backend "the backend sent too many interim responses";

    // The response body. Mostly its head has been sent, so that only a cut connection tells the client about the failure.
    ResponseIncomplete   502 "http_response_incomplete" Backend "the backend's response ended early";
    ResponseChunk        502 "http_protocol_error" Backend "the chunked coding of the backend's response is malformed";
    ResponseTrailer      502 "http_protocol_error" Backend "the trailer section of the backend's response is malformed";
    ResponseStalled      504 "connection_read_timeout" Backend "the backend fell silent in the middle of its response";
    TunnelSilent         504 "connection_read_timeout" Ronde "both sides of the tunnel fell silent";
    Cut                  503 "proxy_internal_error" Ronde "the transfer was cut at the end of the shutdown grace";
}

impl Failure {
    /// A short name for tools, such as `connect_timeout`.
    pub fn label(self) -> String {
        let mut label = String::new();
        for letter in self.name().chars() {
            if letter.is_ascii_uppercase() && !label.is_empty() {
                label.push('_');
            }
            label.push(letter.to_ascii_lowercase());
        }
        label
    }

    /// Whether a backend had the request, or a part of it, and closed the connection without a byte of a response.
    pub fn is_unanswered(self) -> bool {
        matches!(self, Self::BackendClosed | Self::BackendReset)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_failure_has_a_text_of_its_own() {
        let texts: HashSet<_> = Failure::ALL.iter().map(|failure| failure.text()).collect();
        assert_eq!(texts.len(), Failure::ALL.len());
    }

    #[test]
    fn the_status_fits_the_blame() {
        for failure in Failure::ALL {
            let status = failure.status();
            match failure.blame() {
                Blame::Client => assert!(matches!(status, 400..=499 | 501 | 505 | 508), "{failure:?}"),
                Blame::Backend => assert!(matches!(status, 502 | 504), "{failure:?}"),
                Blame::Ronde => assert!(matches!(status, 403 | 404 | 408 | 500 | 503 | 504), "{failure:?}"),
            }
        }
    }
}
