//! Field lines as lists.
//!
//! The problem: a field may have several lines, and a line may hold several comma-separated members (RFC 9110 §5.3). A
//! getter that returns "the value" returns the first line and ignores the rest, and the proxy and the backend then
//! disagree about what the message says. So there is no such getter: a caller asks for every line, every member, or the
//! only line.
//!
//! Not here: what a field means. That is in `head`, `framing` and `forward`.

mod name;

use httparse::Header;
pub use name::Name;

/// The field lines of one message, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    lines: &'a [Header<'a>],
    /// The name of each line, recognised.
    names: &'a [Name],
    /// A bit for each [`Name`] among the lines, because most look-ups are for an absent field.
    present: u32,
}

/// A field that may have only one line has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

impl<'a> Fields<'a> {
    /// Recognises the name of each line. `names` must be at least as long as `lines`.
    pub fn new(lines: &'a [Header<'a>], names: &'a mut [Name]) -> Self {
        let mut present = 0;
        for (line, name) in lines.iter().zip(&mut *names) {
            *name = Name::of(line.name.as_bytes());
            present |= bit(*name);
        }
        Self { lines, names, present }
    }

    /// Every field line, in order: its name recognised, its name as received, and its value.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &'a str, &'a [u8])> + use<'a> {
        self.names.iter().zip(self.lines).map(|(name, line)| (*name, line.name, line.value))
    }

    /// The value of every line with this name.
    pub fn lines(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let names = if self.contains(name) { self.names } else { &[] };
        let has_name = move |(other, _): &(&Name, _)| **other == name;
        names.iter().zip(self.lines).filter(has_name).map(|(_, line)| line.value)
    }

    /// The members of every line with this name, read as one comma-separated list (RFC 9110 §5.6.1).
    /// Empty members are skipped, as a recipient must.
    pub fn members(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.lines(name).flat_map(members_of)
    }

    /// The value of the only line with this name, if there is one.
    ///
    /// # Errors
    /// [`Repeated`] when there are two or more, even with equal values.
    pub fn sole(&self, name: Name) -> Result<Option<&'a [u8]>, Repeated> {
        let mut lines = self.lines(name);
        match (lines.next(), lines.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Repeated),
        }
    }

    pub fn contains(&self, name: Name) -> bool {
        self.present & bit(name) != 0
    }

    /// Whether `token` is a member of the list in `name`; tokens compare without case.
    pub fn has_member(&self, name: Name, token: &str) -> bool {
        self.members(name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }
}

fn bit(name: Name) -> u32 {
    1 << name as u32
}

/// The non-empty members of one comma-separated value, without the white space around them.
pub fn members_of(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Removes optional white space from both ends: only SP and HTAB (RFC 9110 §5.6.3), not the other white space of ASCII
/// or Unicode, because a vertical tab before `chunked` is a smuggling attack.
pub fn trim(value: &[u8]) -> &[u8] {
    trim_end(trim_start(value))
}

/// [`trim`] at the start alone.
pub fn trim_start(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|&byte| !is_blank(byte)).unwrap_or(value.len());
    &value[start..]
}

/// [`trim`] at the end alone.
pub fn trim_end(value: &[u8]) -> &[u8] {
    let length = value.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    &value[..length]
}

/// Where the next line begins behind the one that `at` is in, in a head or a part of one.
pub fn end_of_line(head: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &head[at..]).map_or(head.len(), |feed| at + feed + 1)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `tchar` of RFC 9110 §5.6.2: the bytes of methods and field names.
pub fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        || byte.is_ascii_alphanumeric()
}

/// Whether these bytes are a token: a method or a field name.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// A byte that is allowed in a field value: visible, SP, HTAB or obs-text (RFC 9110 §5.5).
pub fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [Header; 4] = [
        Header { name: "Connection", value: b"close, ,x-one" },
        Header { name: "Host", value: b"example.org" },
        Header { name: "CONNECTION", value: b" X-Two\t," },
        Header { name: "Via", value: b"" },
    ];

    #[test]
    fn lines_and_members_see_every_line() {
        let mut names = [Name::Other; 4];
        let fields = Fields::new(&LINES, &mut names);
        assert_eq!(fields.lines(Name::Connection).count(), 2);
        let members: Vec<_> = fields.members(Name::Connection).collect();
        assert_eq!(members, [&b"close"[..], b"x-one", b"X-Two"]);
        assert!(fields.has_member(Name::Connection, "x-two"));
        assert!(!fields.has_member(Name::Connection, "x"), "a substring is not a member");
    }

    #[test]
    fn sole_is_one_line_or_none_or_an_error() {
        let mut names = [Name::Other; 4];
        let fields = Fields::new(&LINES, &mut names);
        assert_eq!(fields.sole(Name::Host), Ok(Some(&b"example.org"[..])));
        assert_eq!(fields.sole(Name::Via), Ok(Some(&b""[..])));
        assert_eq!(fields.sole(Name::Te), Ok(None));
        assert_eq!(fields.sole(Name::Connection), Err(Repeated));
    }

    #[test]
    fn only_space_and_tab_are_trimmed() {
        for (value, trimmed) in [
            (&b" \t a b\t "[..], &b"a b"[..]),
            (b"", b""),
            (b"  ", b""),
            (b"\x0bchunked", b"\x0bchunked"),
            (b"\xc2\xa0a", b"\xc2\xa0a"),
        ] {
            assert_eq!(trim(value), trimmed);
        }
    }
}
