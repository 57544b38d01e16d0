//! A man page in roff, with the macros of man(7).
//!
//! The problem: roff takes a dot at the begin of a line for a macro and a backslash for an escape, turns a hyphen into a
//! typographic one that nobody can search for or copy, and warns about what it cannot read, at the reader's. So all text
//! goes through here.
//!
//! Not here: what a page says (`man`).

/// Columns of the source. mandoc(1) warns at 80.
const WIDTH: usize = 78;

/// A page that is being written.
pub(super) struct Roff(String);

impl Roff {
    /// `date` as 2026-11-26.
    pub fn new(title: &str, section: u8, date: &str, version: &str) -> Roff {
        let version = escaped(version);
        Roff(format!(
            ".\\\" Made by the program from its tables.\n.TH {title} {section} \"{date}\" \"{version}\"\n"
        ))
    }

    pub fn section(&mut self, title: &str) {
        self.0.push_str(&format!(".SH {title}\n"));
    }

    pub fn subsection(&mut self, title: &str) {
        self.0.push_str(&format!(".SS {}\n", escaped(title)));
    }

    /// What the next texts are about, in bold.
    pub fn term(&mut self, term: &str) {
        self.0.push_str(&format!(".TP\n\\fB{}\\fR\n", escaped(term)));
    }

    /// A line in bold that is not filled with the one before.
    pub fn line(&mut self, line: &str) {
        if !self.has_just_begun() {
            self.0.push_str(".br\n");
        }
        self.0.push_str(&format!("\\fB{}\\fR\n", escaped(line)));
    }

    /// Sentences. What is between two backticks is bold.
    pub fn text(&mut self, text: &str) {
        self.begin();
        self.more(text);
    }

    /// A paragraph of its own, unless a heading or a term has begun one.
    fn begin(&mut self) {
        if !self.has_just_begun() {
            self.0.push_str(".PP\n");
        }
    }

    /// Whether the last line is a heading or a term.
    fn has_just_begun(&self) -> bool {
        let mut last = self.0.lines().rev();
        let is_heading = |line: &str| line.starts_with(".SH") || line.starts_with(".SS");
        last.next().is_some_and(is_heading) || last.next().is_some_and(|line| line == ".TP")
    }

    /// More of the same paragraph.
    pub fn more(&mut self, text: &str) {
        let mut bold = false;
        let spans = text.split('`').map(|span| {
            let font = if bold { "\\fB" } else { "" };
            let end = if bold { "\\fR" } else { "" };
            bold = !bold;
            format!("{font}{}{end}", escaped(span))
        });
        let text: String = spans.collect();
        let mut width = 0;
        let mut sentence_ends = false;
        for word in text.split_whitespace() {
            // A sentence begins a line, so that roff can set its space.
            let begins = sentence_ends && !word.starts_with(|letter: char| letter.is_lowercase());
            if width > 0 {
                let fits = width + 1 + word.len() <= WIDTH && !begins;
                self.0.push(if fits { ' ' } else { '\n' });
                width = if fits { width + 1 } else { 0 };
            }
            if width == 0 && word.starts_with('.') {
                self.0.push_str("\\&");
            }
            self.0.push_str(word);
            width += word.len();
            sentence_ends = word.ends_with(['.', '?', '!']);
        }
        self.0.push('\n');
    }

    /// Lines as they are.
    pub fn verbatim(&mut self, lines: &str) {
        self.begin();
        self.0.push_str(&format!(".nf\n{}.fi\n", escaped(lines)));
    }

    pub fn finish(self) -> String {
        self.0
    }
}

/// The text, without any letter that roff reads as more than a letter.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '"' => escaped.push_str("\\(dq"),
            '~' => escaped.push_str("\\(ti"),
            '^' => escaped.push_str("\\(ha"),
            '`' => escaped.push_str("\\(ga"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::Roff;

    fn text(text: &str) -> String {
        let mut page = Roff(".SH X\n".into());
        page.text(text);
        page.finish().replacen(".SH X\n", "", 1)
    }

    #[test]
    fn nothing_in_a_text_is_a_macro_or_an_escape() {
        assert_eq!(text(".TH is `--x`, 'a\\b'"), "\\&.TH is \\fB\\-\\-x\\fR, \\(aqa\\eb\\(aq\n");
    }

    #[test]
    fn a_sentence_begins_a_line_and_no_line_is_long() {
        assert_eq!(text("One, i.e. a. Two."), "One, i.e. a.\nTwo.\n");
        let long = text(&"word ".repeat(100));
        assert!(long.lines().all(|line| line.len() <= super::WIDTH) && long.lines().count() == 7, "{long}");
    }

    #[test]
    fn a_text_continues_its_term() {
        let mut page = Roff(String::new());
        page.term("--x");
        page.text("One.");
        page.more("Two.");
        page.text("Three.");
        assert_eq!(page.finish(), ".TP\n\\fB\\-\\-x\\fR\nOne.\nTwo.\n.PP\nThree.\n");
    }
}
