//! Bodies that can be checked: each byte depends on its offset.
//!
//! The period is prime, so a block that is lost, repeated or swapped does not match, whatever its size.

const PERIOD: usize = 251;
/// The longest piece.
pub const PIECE: usize = 64 << 10;

static TABLE: [u8; PERIOD + PIECE] = table();

#[allow(clippy::cast_possible_truncation, reason = "a remainder of 251 fits")]
const fn table() -> [u8; PERIOD + PIECE] {
    let mut table = [0; PERIOD + PIECE];
    let mut at = 0;
    while at < table.len() {
        table[at] = (at % PERIOD) as u8;
        at += 1;
    }
    table
}

/// The body from `offset` on: `most` bytes, or a [`PIECE`] if that is less.
pub fn piece(offset: usize, most: usize) -> &'static [u8] {
    &TABLE[offset % PERIOD..][..most.min(PIECE)]
}

/// Whether these bytes stand at `offset` of a body.
pub fn is_right(offset: usize, bytes: &[u8]) -> bool {
    let pieces = bytes.chunks(PIECE);
    let offsets = (0..).map(|turn| offset + turn * PIECE);
    pieces.zip(offsets).all(|(bytes, offset)| bytes == piece(offset, bytes.len()))
}
