//! Unix sockets as users write them: `unix:/run/app.sock`, and the mode of ronde's own.
//!
//! The problem: every program has a form of its own for a path where others have an address. ronde has one form, and says
//! what to write to a user of another. The path goes into log lines and into errors, and `,` and `;` separate values, so
//! it is made of plain characters.
//!
//! Not here: files and sockets (`net::listener`).

use std::path::Path;
use std::sync::Arc;

use super::error::shown;
use super::{RawValue, Setting};

/// The most bytes of a path that a socket address has room for (unix(7): 108, with a NUL).
const MOST_BYTES: usize = 107;

/// The path in `unix:/run/app.sock`; `None` if the text is no path in any program's form.
///
/// # Errors
/// It is in another program's form, or no path that ronde takes.
pub(super) fn path(text: &str) -> Option<Result<Arc<Path>, String>> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    match bare.strip_prefix("unix:") {
        Some(path) if bare == text => Some(checked(path, text)),
        // As nginx has it, perhaps with a colon and a URI behind it.
        Some(path) => Some(Err(advice(text, path.split(':').next().unwrap_or_default()))),
        None => {
            ["/", "./", "../"].iter().any(|start| text.starts_with(start)).then(|| Err(advice(text, text)))
        }
    }
}

fn checked(path: &str, text: &str) -> Result<Arc<Path>, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte);
    if !is_absolute(path) {
        return Err(advice(text, path));
    }
    if path.ends_with('/') {
        return Err(format!("{} is a directory; give the path of a socket in it", shown(text)));
    }
    if path.len() > MOST_BYTES {
        return Err(format!("{} is too long for a socket; give {MOST_BYTES} bytes at most", shown(text)));
    }
    if !path.bytes().all(is_plain) {
        let allowed = "plain characters without spaces, quotes, backslashes, commas and semicolons";
        return Err(format!("{} has a character that ronde does not take; give {allowed}", shown(text)));
    }
    Ok(Path::new(path).into())
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.starts_with("//")
}

/// What to write instead of this path.
fn advice(text: &str, path: &str) -> String {
    let single = path.trim_start_matches('/');
    match path.starts_with('/') && !single.is_empty() {
        true => format!("{} is a path; write unix:/{single}", shown(text)),
        false => format!("{} is no absolute path; give one such as unix:/run/app.sock", shown(text)),
    }
}

/// The reader of `--listen-mode`: permissions as chmod(1) takes them in digits.
pub(super) fn mode(raw: &RawValue, _: &Setting) -> Result<u32, String> {
    let digits = &raw.text;
    let is_octal = matches!(digits.len(), 3 | 4) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(digits, 8) {
        Ok(mode @ 0..=0o777) if is_octal => Ok(mode),
        _ => Err(format!("{} is no mode; give three digits such as 660 or 666", shown(digits))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_one_form() {
        for text in ["unix:/run/app.sock", "unix:/a", "unix:/run/app:1.sock", "unix:/run/@a"] {
            let path = path(text).unwrap().unwrap();
            assert_eq!(format!("unix:{}", path.display()), text);
        }
        for text in ["app1:8000", "127.0.0.1:80", ":80", "http://app", "unix", "", "localhost:1"] {
            assert_eq!(path(text), None, "{text}");
        }
    }

    #[test]
    fn other_forms_are_answered_with_what_to_write() {
        for (text, advice) in [
            ("/run/a.sock", "write unix:/run/a.sock"),
            ("unix:///run/a.sock", "write unix:/run/a.sock"),
            ("http://unix:/run/a.sock", "write unix:/run/a.sock"),
            ("http://unix:/run/a.sock:/x/", "write unix:/run/a.sock"),
            ("unix:a.sock", "give one such as unix:/run/app.sock"),
            ("unix:@a", "give one such as unix:/run/app.sock"),
            ("./a.sock", "give one such as unix:/run/app.sock"),
            ("unix:", "give one such as unix:/run/app.sock"),
            ("unix:/", "is a directory"),
            ("unix:/run/", "is a directory"),
            ("unix:/a b", "has a character"),
            ("unix:/a\n", "has a character"),
            ("unix:/\u{e4}", "has a character"),
        ] {
            let error = path(text).unwrap().unwrap_err();
            assert!(error.contains(advice), "{text}: {error}");
        }
        let longest = format!("unix:/{}", "a".repeat(MOST_BYTES - 1));
        assert!(path(&longest).unwrap().is_ok());
        assert!(path(&format!("{longest}a")).unwrap().unwrap_err().contains("too long"));
    }

    #[test]
    fn modes() {
        let read = |text: &str| mode(&RawValue::new(text, "--listen-mode"), &super::super::row::listen_mode);
        for (text, bits) in [("660", 0o660), ("0666", 0o666), ("000", 0)] {
            assert_eq!(read(text), Ok(bits));
        }
        for text in ["66", "1660", "668", "+66", "0o66", "u=rw"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
