//! A request body as a backend gets it: counted, and compared with the pattern.
//!
//! Not here: answers, which the bench writes with a known length (`connection`).

use crate::pattern;

#[derive(Debug)]
pub struct Body {
    is_chunked: bool,
    stage: Stage,
    /// A line of the chunked coding, as far as it is there.
    line: Vec<u8>,
    received: usize,
    is_right: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The size of a chunk, or the empty line after a chunk's data.
    Size,
    /// So many bytes of the body, or of a chunk, are missing.
    Data(usize),
    Trailers,
    End,
}

impl Body {
    pub fn of_length(length: usize) -> Self {
        let stage = if length == 0 { Stage::End } else { Stage::Data(length) };
        Self { is_chunked: false, stage, line: Vec::new(), received: 0, is_right: true }
    }

    pub fn chunked() -> Self {
        Self { is_chunked: true, stage: Stage::Size, ..Self::of_length(0) }
    }

    pub fn has_ended(&self) -> bool {
        self.stage == Stage::End
    }

    /// How many bytes came, and whether they were the right ones.
    pub fn summary(&self) -> String {
        format!("{} {}", self.received, if self.is_right { "right" } else { "wrong" })
    }

    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stage {
                Stage::Data(left) => {
                    let (data, rest) = bytes.split_at(left.min(bytes.len()));
                    self.is_right &= pattern::is_right(self.received, data);
                    self.received += data.len();
                    self.stage = match left - data.len() {
                        0 if self.is_chunked => Stage::Size,
                        0 => Stage::End,
                        left => Stage::Data(left),
                    };
                    bytes = rest;
                }
                Stage::Size | Stage::Trailers => {
                    self.line.push(bytes[0]);
                    bytes = &bytes[1..];
                    if self.line.ends_with(b"\n") {
                        self.end_of_line();
                    }
                }
                Stage::End => return,
            }
        }
    }

    fn end_of_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim().to_owned();
        self.line.clear();
        self.stage = match (self.stage, line.as_str()) {
            (Stage::Trailers, "") => Stage::End,
            (Stage::Trailers, _) => Stage::Trailers,
            (_, "") => Stage::Size,
            (_, line) => match usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16) {
                Ok(0) => Stage::Trailers,
                Ok(size) => Stage::Data(size),
                // Without a size there is no end either: the client waits, and the bench counts that.
                Err(_) => Stage::Data(usize::MAX),
            },
        };
    }
}
