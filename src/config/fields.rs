//! What an admin changes in heads, as users write it: fields that are set, and names that are removed.
//!
//! ```toml
//! remove-response-header = ["Server", "X-Powered-By"]
//!
//! [set-request-header]
//! X-Tenant = "a"
//! X-Client = "{client}"
//! ```
//!
//! The problem: these texts end up between the lines of a head. One with a line end would be two fields; one that
//! frames the message would end it elsewhere. So a name is checked against what ronde writes itself, and a value is
//! parsed into parts when it is read: for a request nothing is left that could fail.
//!
//! A variable has a line for each field, since every other sign that could divide them is common in values: the comma
//! in `Cache-Control`, the semicolon in `Strict-Transport-Security`.
//!
//! Not here: the heads (`http1::forward`).

use std::fmt::{self, Write as _};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::check;
use super::entry::{self, Entry};
use super::error::{Error, shown};
use super::value::{Arity, Each, Reader, from_sources};
use super::{Config, RawValue, Setting, Source, row};

/// A field that stands in every head, instead of what came under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetField {
    pub name: FieldName,
    pub value: Template,
}

/// The name of a field, as the admin writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName(String);

/// The value of a field, with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Visible ASCII characters and spaces.
    Text(String),
    /// `{client}`: the client's address, as far as it is known behind trusted proxies.
    Client,
    /// `{host}`: the host as it was asked for, with its port if that was given.
    Host,
    /// `{scheme}`: `http`, or what a trusted proxy says.
    Scheme,
}

impl FieldName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the same name, without case. `_` and every other sign count as `-`, because CGI and WSGI do not tell them
    /// apart: a client must not be able to send a second `X-User` as `X_User`, or as `X.User`.
    pub fn is(&self, name: &[u8]) -> bool {
        let same = |(own, other): (u8, &u8)| as_cgi(own) == as_cgi(*other);
        self.0.len() == name.len() && self.0.bytes().zip(name).all(same)
    }
}

/// A byte of a field's name as CGI and WSGI applications read it: letters without case, and every sign as `-` (RFC 3875
/// §4.1.18).
pub fn as_cgi(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

impl fmt::Display for FieldName {
    /// As names compare: two that are shown alike are the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| f.write_char(char::from(as_cgi(byte))))
    }
}

impl SetField {
    fn is(&self, name: &FieldName) -> bool {
        self.name.is(name.0.as_bytes())
    }
}

impl fmt::Display for SetField {
    /// Its name, which makes it the same field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl Template {
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// A variable as nginx has them, such as `$host`, if one stands in it.
    fn variable(&self) -> Option<&str> {
        let texts = self.0.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        });
        let mut behind = texts.flat_map(|text| text.match_indices('$').map(|(at, _)| &text[at..]));
        behind.find_map(|text| {
            let end = text[1..].find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
            let name = end.map_or(text, |end| &text[..=end]);
            name[1..].starts_with(|sign: char| sign.is_ascii_lowercase()).then_some(name)
        })
    }

    /// Whether it is the same text for every request.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }
}

/// The reader of `--remove-request-header` and `--remove-response-header`.
pub(super) fn name(raw: &RawValue, row: &Setting) -> Result<FieldName, String> {
    let text = &raw.text;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(format!("{} is no name of a field; give one such as X-Powered-By", shown(text)));
    }
    let name = FieldName(text.clone());
    match refusal(&name, row) {
        Some(why) => Err(format!("{} cannot be set or removed: {why}", shown(text))),
        None => Ok(name),
    }
}

/// Why a field is not the admin's to change.
fn refusal(name: &FieldName, row: &Setting) -> Option<&'static str> {
    let is_of_responses =
        [row::set_response_header.flag, row::remove_response_header.flag].contains(&row.flag);
    match &*name.to_string() {
        "content-length" | "transfer-encoding" | "te" | "trailer" => {
            Some("it belongs to the framing of a message, which ronde decides anew for each connection")
        }
        "connection" | "keep-alive" | "proxy-connection" | "upgrade" => {
            Some("it concerns one connection alone, and ronde writes its own")
        }
        "expect" => Some("it asks whether the body is wanted, and ronde deals with the answer"),
        "max-forwards" => Some("ronde counts it down"),
        "via" | "cdn-loop" => {
            Some("by it ronde knows a request that comes back; --no-via chooses between the two")
        }
        "date" if is_of_responses => Some("a response needs it, and ronde adds it where it is missing"),
        "host" if row.flag != row::set_request_header.flag => {
            Some("a request has exactly one, which --set-request-header can replace")
        }
        _ => None,
    }
}

/// The reader of `--set-request-header` and `--set-response-header`: `Name: value`.
pub(super) fn field(raw: &RawValue, row: &Setting) -> Result<SetField, String> {
    let Some((text, value)) = raw.text.split_once(':') else {
        return Err(format!("{} is not a field; give Name: value", shown(&raw.text)));
    };
    let name = name(&RawValue::new(text, &*raw.place), row)?;
    let text = value.trim_matches([' ', '\t']);
    let value = template(text)?;
    // A backend would refuse every request with it.
    if name.is(b"host") && value.is_literal() {
        check::host(&RawValue::new(text, &*raw.place), row)?;
    }
    Ok(SetField { name, value })
}

fn template(text: &str) -> Result<Template, String> {
    if text.is_empty() {
        return Err(
            "the value is empty; remove-request-header and remove-response-header remove a field".into()
        );
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(format!("{} has a character that is not visible ASCII; percent-encode it", shown(text)));
    }
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let (brace, behind) = rest[at..].split_at(1);
        if let Some(behind) = behind.strip_prefix(brace) {
            literal.push_str(brace);
            rest = behind;
            continue;
        }
        let Some((name, behind)) = behind.split_once('}').filter(|_| brace == "{") else {
            return Err(format!("{} has a single {brace}; write {brace}{brace} for one", shown(text)));
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(placeholder(name)?);
        rest = behind;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(Template(parts))
}

fn placeholder(name: &str) -> Result<Part, String> {
    match name {
        "client" => Ok(Part::Client),
        "host" => Ok(Part::Host),
        "scheme" => Ok(Part::Scheme),
        _ => {
            let shown = shown(&format!("{{{name}}}"));
            Err(format!(
                "{shown} is no placeholder; give {{client}}, {{host}} or {{scheme}}, or {{{{ for a brace"
            ))
        }
    }
}

/// A setting that takes fields, each name once. In the file it is a table.
pub(super) struct FieldLines;

impl Arity for FieldLines {
    const SEPARATOR: Option<char> = Some('\n');
    type Written = FieldTable;
}

impl FieldLines {
    pub(super) fn from_sources(
        row: &Setting,
        sources: &[&Source],
        reader: Reader<SetField>,
    ) -> Result<Vec<SetField>, Error> {
        from_sources(row, sources, Each::read, reader)
    }
}

/// The rows of this module, those that take a table first.
static ROWS: [&Setting; 4] = [
    &row::set_request_header,
    &row::set_response_header,
    &row::remove_request_header,
    &row::remove_response_header,
];

/// Whether a row takes a table of fields.
pub(super) fn is_table(row: &Setting) -> bool {
    ROWS[..2].iter().any(|table| table.flag == row.flag)
}

/// Whether a row may be given nothing, which is how a route undoes what it would inherit.
pub(super) fn may_be_empty(row: &Setting) -> bool {
    ROWS.iter().chain([&&row::retry_status]).any(|own| own.flag == row.flag)
}

/// A table of fields: each name with its value.
pub(super) struct FieldTable(Vec<entry::Field>);

impl From<FieldTable> for Entry {
    fn from(FieldTable(fields): FieldTable) -> Entry {
        Entry::Fields(fields)
    }
}

impl<'de> Deserialize<'de> for FieldTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldTable, D::Error> {
        deserializer.deserialize_map(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = FieldTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of fields, such as { X-Name = \"value\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<FieldTable, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = table.next_entry()? {
            fields.push(field);
        }
        Ok(FieldTable(fields))
    }
}

impl Config {
    /// What a route says itself is nearer than what it inherits: a field that it sets is not removed, and one that it
    /// removes is not set.
    ///
    /// # Errors
    /// See [`Self::check_fields`].
    pub(super) fn prefer_own_fields(&mut self, own: &Source) -> Result<(), String> {
        let [set_request, set_response, remove_request, remove_response] =
            ROWS.map(|row| own.contains_key(row.flag));
        let requests = (&mut self.set_request_header, &mut self.remove_request_header);
        let responses = (&mut self.set_response_header, &mut self.remove_response_header);
        for (sets, removes, (set, removed), whose) in [
            (set_request, remove_request, requests, REQUESTS),
            (set_response, remove_response, responses, RESPONSES),
        ] {
            match (sets, removes) {
                (true, false) => removed.retain(|name| !set.iter().any(|field| field.is(name))),
                (false, true) => set.retain(|field| !removed.iter().any(|name| field.is(name))),
                (true, true) => agree(set, removed, whose)?,
                (false, false) => {}
            }
        }
        Ok(())
    }

    /// One warning for each field with a variable of nginx in it, which is sent to the letter.
    pub(super) fn remarks_on_fields(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for config in self.with_routes() {
            let requests = config.set_request_header.iter().map(|field| (&row::set_request_header, field));
            let responses = config.set_response_header.iter().map(|field| (&row::set_response_header, field));
            remarks.extend(requests.chain(responses).filter_map(|(row, SetField { name, value })| {
                let (flag, name, variable) = (row.flag, &name.0, value.variable()?);
                Some(format!(
                    "{flag}: {variable} in {name} is sent as it stands here; ronde has {{client}}, {{host}} and {{scheme}}"
                ))
            }));
        }
        remarks.dedup();
        remarks
    }

    /// # Errors
    /// A field is set and removed at once.
    pub(super) fn check_fields(&self) -> Result<(), String> {
        agree(&self.set_request_header, &self.remove_request_header, REQUESTS)?;
        agree(&self.set_response_header, &self.remove_response_header, RESPONSES)
    }
}

const REQUESTS: &str = "requests";
const RESPONSES: &str = "responses";

fn agree(set: &[SetField], removed: &[FieldName], whose: &str) -> Result<(), String> {
    match removed.iter().find(|name| set.iter().any(|field| field.is(name))) {
        Some(name) => Err(format!("{name} is both set and removed in {whose}; leave out one of the two")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn read(text: &str) -> Result<SetField, String> {
        field(&RawValue::new(text, ""), &row::set_request_header)
    }

    #[test]
    fn templates_have_parts() {
        let text = |text: &str| Part::Text(text.to_owned());
        for (written, parts) in [
            ("A: b", vec![text("b")]),
            ("A:b", vec![text("b")]),
            ("A: \t b c: d \t", vec![text("b c: d")]),
            ("A: {client}", vec![Part::Client]),
            ("A: {scheme}://{host}/", vec![Part::Scheme, text("://"), Part::Host, text("/")]),
            ("A: {{client}}", vec![text("{client}")]),
            ("A: {{{client}}}", vec![text("{"), Part::Client, text("}")]),
            ("A: {{\"a\":{{}}}}", vec![text("{\"a\":{}}")]),
            ("A: {host}{host}", vec![Part::Host, Part::Host]),
        ] {
            let field = read(written).unwrap();
            assert_eq!((field.name.as_str(), field.value.parts()), ("A", &parts[..]), "{written}");
            assert_eq!(field.value.is_literal(), matches!(&parts[..], [Part::Text(_)]));
        }
    }

    #[test]
    fn mistakes_in_a_field() {
        for (written, error) in [
            ("A", r#""A" is not a field; give Name: value"#),
            (": b", r#""" is no name of a field; give one such as X-Powered-By"#),
            ("A : b", r#""A " is no name of a field; give one such as X-Powered-By"#),
            ("Ä: b", r#""Ä" is no name of a field; give one such as X-Powered-By"#),
            ("A: ", "the value is empty; remove-request-header and remove-response-header remove a field"),
            ("A: b\r\nC: d", r#""b\r\nC: d" has a character that is not visible ASCII; percent-encode it"#),
            ("A: b\nC", r#""b\nC" has a character that is not visible ASCII; percent-encode it"#),
            ("A: ä", r#""ä" has a character that is not visible ASCII; percent-encode it"#),
            ("A: {", r#""{" has a single {; write {{ for one"#),
            ("A: {client", r#""{client" has a single {; write {{ for one"#),
            ("A: b}", r#""b}" has a single }; write }} for one"#),
            ("A: }{", r#""}{" has a single }; write }} for one"#),
            (
                "A: {user}",
                r#""{user}" is no placeholder; give {client}, {host} or {scheme}, or {{ for a brace"#,
            ),
            (
                "A: {Host}",
                r#""{Host}" is no placeholder; give {client}, {host} or {scheme}, or {{ for a brace"#,
            ),
            (
                "Host: http://a",
                r#""http://a" is not a host; give one such as app.example or app.example:8000"#,
            ),
            ("A: {}", r#""{}" is no placeholder; give {client}, {host} or {scheme}, or {{ for a brace"#),
        ] {
            assert_eq!(read(written), Err(error.to_owned()), "{written}");
        }
    }

    #[test]
    fn what_ronde_decides_is_nobody_elses() {
        let refused = |text: &str| {
            let raw = RawValue::new(text, "");
            ROWS.map(|row| name(&raw, row).is_err())
        };
        for text in [
            "Content-Length",
            "content_length",
            "TRANSFER-ENCODING",
            "TE",
            "Trailer",
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "Upgrade",
            "Expect",
            "Max-Forwards",
            "Via",
            "CDN-Loop",
        ] {
            assert_eq!(refused(text), [true; 4], "{text}");
        }
        assert_eq!(refused("Host"), [false, true, true, true]);
        assert_eq!(refused("Date"), [false, true, false, true]);
        for text in
            ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Server", "Content-Type"]
        {
            assert_eq!(refused(text), [false; 4], "{text}");
        }
        let why = name(&RawValue::new("te", ""), &row::remove_request_header).unwrap_err();
        assert!(why.starts_with("\"te\" cannot be set or removed: it belongs to the framing"), "{why}");
    }

    #[test]
    fn names_compare_without_case_and_signs() {
        let name = FieldName("X-User".into());
        for (other, is_same) in [
            ("x-user", true),
            ("X_USER", true),
            ("X.user", true),
            ("X-Use", false),
            ("X-Users", false),
            ("", false),
        ] {
            assert_eq!(name.is(other.as_bytes()), is_same, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_text_with_its_braces_doubled_is_that_text(text in "[!-~]{1,20}") {
            let field = read(&format!("A:{}", text.replace('{', "{{").replace('}', "}}"))).unwrap();
            prop_assert_eq!(field.value.parts(), &[Part::Text(text)][..]);
        }

        #[test]
        fn no_part_breaks_a_line(text in any::<String>()) {
            for part in read(&text).iter().flat_map(|field| field.value.parts()) {
                if let Part::Text(text) = part {
                    prop_assert!(!text.contains(char::is_control));
                }
            }
        }
    }
}
