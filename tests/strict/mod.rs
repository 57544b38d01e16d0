//! A second parser of HTTP/1.1: one function for each rule of the grammars in RFC 9110, 9112 and 3986, in the order of
//! the bytes, with no code from `src`.
//!
//! The problem: a parser that is tested against itself agrees with itself. Smuggling needs two parsers that disagree,
//! so the tests compare ronde's reading of every byte with this one. It is slow, copies everything, and refuses
//! everything that a recipient merely may tolerate. What a proxy must mend in a response (RFC 9112 §5.1 and §5.2) it
//! mends, unless that could be read in two ways.
//!
//! It departs from the RFCs only where ronde documents it: a target may hold every visible character but `#`, a length and
//! a chunk's size have 63 bits, a length occurs once, a port has 16 bits, and a chunk extension is not parsed.
//!
//! Not here: limits, and the changes that a gateway makes (`gateway`).

use std::net::Ipv6Addr;

/// Why the bytes do not begin with a message. [`Fault::Incomplete`] bytes may become one, and every proper prefix of a
/// message is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Incomplete,
    Invalid(&'static str),
}

type Parsed<T> = Result<T, Fault>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<Start> {
    pub start: Start,
    pub fields: Vec<Field>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    pub method: String,
    pub target: Target,
    pub minor: u8,
}

/// RFC 9112 §3.2, without the authority-form: a gateway refuses CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Origin(String),
    Absolute { authority: String, path: String },
    Asterisk,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusLine {
    pub minor: u8,
    pub status: u16,
    pub reason: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub value: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub data: Vec<u8>,
    pub trailers: Vec<Field>,
    /// Bytes in the longest chunk extension, or the most zeros before the size of a chunk, whichever is more.
    pub padding: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Exactly(u64),
    Chunked,
    UntilClose,
}

/// One request, and the bytes after it.
pub fn request(bytes: &[u8]) -> Parsed<(Message<RequestLine>, &[u8])> {
    let mut reader = Reader(bytes);
    let start = reader.request_line()?;
    let fields = reader.fields()?;
    match &named(&fields, "host")[..] {
        [host] => authority(&host.value)?,
        [] if start.minor == 0 => {}
        _ => return Err(Fault::Invalid("Host occurs once")),
    }
    let body = reader.body(declared(start.minor, &fields)?.unwrap_or(Length::Exactly(0)))?;
    Ok((Message { start, fields, body }, reader.0))
}

/// One response to a request with this method, and the bytes after it. A body that ends with its connection takes all
/// bytes.
pub fn response<'a>(bytes: &'a [u8], method: &str) -> Parsed<(Message<StatusLine>, &'a [u8])> {
    let (start, fields, rest) = response_head(bytes)?;
    let mut reader = Reader(rest);
    let declared = declared(start.minor, &fields)?;
    let length = match start.status {
        _ if method == "HEAD" => Length::Exactly(0),
        100..=199 | 204 | 304 => Length::Exactly(0),
        _ => declared.unwrap_or(Length::UntilClose),
    };
    let body = reader.body(length)?;
    Ok((Message { start, fields, body }, reader.0))
}

/// The head of a response, whatever its fields say about a body, and the bytes after it.
pub fn response_head(bytes: &[u8]) -> Parsed<(StatusLine, Vec<Field>, &[u8])> {
    let mut reader = Reader(bytes);
    Ok((reader.status_line()?, reader.response_fields()?, reader.0))
}

/// The body length that the fields declare, for a message that may have a body (RFC 9112 §6.3, rules 3 to 6).
pub fn declared(minor: u8, fields: &[Field]) -> Parsed<Option<Length>> {
    let codings = named(fields, "transfer-encoding");
    let lengths = named(fields, "content-length");
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(None),
        ([], [length]) => number(&length.value).map(|length| Some(Length::Exactly(length))),
        ([], _) => Err(Fault::Invalid("Content-Length occurs once")),
        (_, [_, ..]) => Err(Fault::Invalid("Content-Length or Transfer-Encoding, not both")),
        _ if minor == 0 => Err(Fault::Invalid("HTTP/1.0 has no Transfer-Encoding")),
        // A sender may not generate an empty list (RFC 9110 §5.6.1.1), even if another line names a coding.
        _ if codings.iter().any(|line| members(&[Field::clone(line)], "transfer-encoding").is_empty()) => {
            Err(Fault::Invalid("a Transfer-Encoding names a coding"))
        }
        _ if members(fields, "transfer-encoding") == ["chunked"] => Ok(Some(Length::Chunked)),
        _ => Err(Fault::Invalid("chunked is the only transfer coding")),
    }
}

/// The lines with this name.
pub fn named<'a>(fields: &'a [Field], name: &str) -> Vec<&'a Field> {
    fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).collect()
}

/// The members of the list that all lines with this name form, in lower case (RFC 9110 §5.6.1).
pub fn members(fields: &[Field], name: &str) -> Vec<String> {
    let lines: Vec<_> = named(fields, name).iter().map(|field| latin1(&field.value)).collect();
    let list = lines.join(",").to_ascii_lowercase();
    list.split(',')
        .map(|member| member.trim_matches([' ', '\t']).to_owned())
        .filter(|m| !m.is_empty())
        .collect()
}

/// `protocol-name [ "/" protocol-version ]`, as `Upgrade` lists them (RFC 9110 §7.8).
pub fn is_protocol(text: &str) -> bool {
    let (name, version) = text.split_once('/').unwrap_or((text, "0"));
    [name, version].iter().all(|part| !part.is_empty() && part.bytes().all(is_tchar))
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2). http requires a host; a port has 16 bits.
fn authority(bytes: &[u8]) -> Parsed<()> {
    let text = latin1(bytes);
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], &text[colon + 1..]),
        _ => (&text[..], ""),
    };
    let is_address = |host: &str| {
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if !port.is_empty() && !is_number {
        return Err(Fault::Invalid("a port is a number of 16 bits"));
    }
    // Stricter than the grammar: whether `a..` is `a` is not for two programs to decide differently.
    let has_empty_label = host.strip_suffix('.').unwrap_or(host).split('.').any(str::is_empty);
    if has_empty_label || !(is_address(host) || is_reg_name(host)) {
        return Err(Fault::Invalid("an authority has a host"));
    }
    Ok(())
}

/// `*( unreserved / pct-encoded / sub-delims )`
fn is_reg_name(name: &str) -> bool {
    let mut pieces = name.split('%');
    let is_plain = |piece: &str| {
        piece.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte))
    };
    let is_escape =
        |piece: &str| piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    pieces.next().is_some_and(is_plain) && pieces.all(|piece| is_escape(piece) && is_plain(piece))
}

/// `1*DIGIT`, below 2^63.
fn number(digits: &[u8]) -> Parsed<u64> {
    let wrong = Fault::Invalid("a length is a number");
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    latin1(digits).parse::<i64>().map(i64::unsigned_abs).map_err(|_| wrong)
}

/// Each byte as a character, so that no byte is lost.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `VCHAR`, `obs-text`, SP and HTAB.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_framing(name: &str) -> bool {
    ["content-length", "transfer-encoding"].contains(&&name.to_ascii_lowercase()[..])
}

/// `VCHAR` without the one that begins a fragment.
fn is_target(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// The bytes still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// `method SP request-target SP HTTP-version CRLF`
    fn request_line(&mut self) -> Parsed<RequestLine> {
        let method = latin1(self.one_or_more(is_tchar, "a method is a token")?);
        self.literal(b" ", "one space after the method")?;
        let target = latin1(self.one_or_more(is_target, "a target consists of visible characters")?);
        self.literal(b" ", "one space after the target")?;
        let minor = self.version()?;
        self.literal(b"\r\n", "a request line ends after its version")?;
        let target = self.target(&method, target)?;
        Ok(RequestLine { method, target, minor })
    }

    fn target(&self, method: &str, target: String) -> Parsed<Target> {
        if method == "CONNECT" {
            return Err(Fault::Invalid("a gateway refuses CONNECT"));
        }
        if target.starts_with('/') {
            return Ok(Target::Origin(target));
        }
        if target == "*" && method == "OPTIONS" {
            return Ok(Target::Asterisk);
        }
        let (scheme, rest) =
            target.split_once("://").ok_or(Fault::Invalid("a target has one of the four forms"))?;
        if !["http", "https"].contains(&&scheme.to_ascii_lowercase()[..]) {
            return Err(Fault::Invalid("a target has an http scheme"));
        }
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        authority(host.as_bytes())?;
        Ok(Target::Absolute { authority: host.to_owned(), path: rest[host.len()..].to_owned() })
    }

    /// `HTTP-version SP status-code SP [ reason-phrase ] CRLF`. Many servers omit the second space.
    fn status_line(&mut self) -> Parsed<StatusLine> {
        let minor = self.version()?;
        self.literal(b" ", "one space after the version")?;
        let code = self.take(3)?;
        if !code.iter().all(u8::is_ascii_digit) || code[0] == b'0' {
            return Err(Fault::Invalid("a status has three digits"));
        }
        let status = u16::try_from(number(code)?).unwrap_or_default();
        let reason = self.zero_or_more(is_text)?;
        self.literal(b"\r\n", "a status line ends after its reason")?;
        let reason = match reason {
            [] => reason,
            [b' ', reason @ ..] => reason,
            _ => return Err(Fault::Invalid("one space after the status")),
        };
        Ok(StatusLine { minor, status, reason: reason.to_vec() })
    }

    /// `HTTP-name "/" DIGIT "." DIGIT`; a later minor version is understood as 1.1 (RFC 9110 §2.5).
    fn version(&mut self) -> Parsed<u8> {
        self.literal(b"HTTP/1.", "the version is 1.x")?;
        match self.take(1)? {
            [digit] if digit.is_ascii_digit() => Ok((digit - b'0').min(1)),
            _ => Err(Fault::Invalid("a minor version is a digit")),
        }
    }

    /// `*( field-line CRLF ) CRLF`
    fn fields(&mut self) -> Parsed<Vec<Field>> {
        let mut fields = Vec::new();
        while self.peek()? != b'\r' {
            let name = latin1(self.one_or_more(is_tchar, "a field name is a token")?);
            self.literal(b":", "a colon after the field name")?;
            let value = self.zero_or_more(is_text)?.trim_ascii().to_vec();
            self.literal(b"\r\n", "a field line ends after its value")?;
            fields.push(Field { name, value });
        }
        self.literal(b"\r\n", "an empty line after the fields")?;
        Ok(fields)
    }

    /// `*( field-name OWS ":" OWS field-value *( CRLF 1*( SP / HTAB ) field-value ) CRLF ) CRLF`: what a proxy mends. A
    /// blank before the colon goes, and a fold becomes as many spaces as it has bytes.
    fn response_fields(&mut self) -> Parsed<Vec<Field>> {
        let mut fields = Vec::new();
        while self.peek()? != b'\r' {
            let name = latin1(self.one_or_more(is_tchar, "a field name is a token")?);
            let mut is_odd = !self.zero_or_more(is_blank)?.is_empty();
            self.literal(b":", "a colon after the field name")?;
            let mut value = self.line_of_value()?.trim_ascii_start().to_vec();
            while is_blank(self.peek()?) {
                is_odd = true;
                let line = self.line_of_value()?;
                let text = line.trim_ascii_start();
                let first_word = latin1(text.split(|&byte| byte == b':').next().unwrap_or_default());
                if text.is_empty() || is_framing(first_word.trim_end()) {
                    return Err(Fault::Invalid("a folded line looks like the end, or like framing"));
                }
                let kept = value.trim_ascii_end().len();
                let fold = value.len() - kept + 2 + line.len() - text.len();
                value.truncate(kept);
                value.extend(std::iter::repeat_n(b' ', fold));
                value.extend(text);
            }
            if is_odd && is_framing(&name) {
                return Err(Fault::Invalid(
                    "a framing field is neither folded nor has a blank before its colon",
                ));
            }
            fields.push(Field { name, value: value.trim_ascii().to_vec() });
        }
        self.literal(b"\r\n", "an empty line after the fields")?;
        Ok(fields)
    }

    fn line_of_value(&mut self) -> Parsed<&'a [u8]> {
        let value = self.zero_or_more(is_text)?;
        self.literal(b"\r\n", "a field line ends after its value")?;
        Ok(value)
    }

    fn body(&mut self, length: Length) -> Parsed<Body> {
        let mut body = Body::default();
        match length {
            Length::Exactly(length) => body.data.extend(self.take(length)?),
            Length::UntilClose => body.data.extend(std::mem::take(&mut self.0)),
            Length::Chunked => {
                while let size @ 1.. = self.chunk_size(&mut body)? {
                    body.data.extend(self.take(size)?);
                    self.literal(b"\r\n", "a chunk ends after its data")?;
                }
                body.trailers = self.fields()?;
            }
        }
        Ok(body)
    }

    /// `chunk-size [ chunk-ext ] CRLF`
    fn chunk_size(&mut self, body: &mut Body) -> Parsed<u64> {
        let digits = self.one_or_more(|byte| byte.is_ascii_hexdigit(), "a chunk has a size")?;
        let extension = self.zero_or_more(is_text)?;
        self.literal(b"\r\n", "a chunk's size ends with CRLF")?;
        if !extension.is_empty() && !extension.trim_ascii_start().starts_with(b";") {
            return Err(Fault::Invalid("a semicolon before an extension"));
        }
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        body.padding = body.padding.max(extension.len()).max(zeros);
        let size = i64::from_str_radix(&latin1(digits), 16);
        size.map(i64::unsigned_abs).map_err(|_| Fault::Invalid("a size has 63 bits"))
    }

    fn peek(&self) -> Parsed<u8> {
        self.0.first().copied().ok_or(Fault::Incomplete)
    }

    fn take(&mut self, count: u64) -> Parsed<&'a [u8]> {
        let count = usize::try_from(count).map_err(|_| Fault::Incomplete)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Fault::Incomplete)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The longest run of accepted bytes. Its end is known only when another byte follows.
    fn zero_or_more(&mut self, accepts: fn(u8) -> bool) -> Parsed<&'a [u8]> {
        let length = self.0.iter().position(|&byte| !accepts(byte)).ok_or(Fault::Incomplete)?;
        self.take(length as u64)
    }

    fn one_or_more(&mut self, accepts: fn(u8) -> bool, rule: &'static str) -> Parsed<&'a [u8]> {
        match self.zero_or_more(accepts)? {
            [] => Err(Fault::Invalid(rule)),
            run => Ok(run),
        }
    }

    fn literal(&mut self, text: &[u8], rule: &'static str) -> Parsed<()> {
        for expected in text {
            if self.take(1)? != [*expected] {
                return Err(Fault::Invalid(rule));
            }
        }
        Ok(())
    }
}
