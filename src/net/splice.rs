//! Bytes that pass from one connection to another without entering this process.
//!
//! The problem: a long body is copied twice, out of the kernel and in again, and that is nearly all that it costs. splice(2)
//! moves pages from the queue of one socket to that of the other: two thirds of the CPU time for a megabyte, and less for more.
//!
//! The way goes by a pipe, which holds the pages meanwhile. What the sink does not take is read back from it, so that the
//! pipe is empty between two calls, and one pipe serves all that its worker serves.
//!
//! Not here: which bytes go out verbatim (`http1::reframer`), and bytes that have to be encrypted.

use crate::net::buffer::READ_SIZE;
use crate::net::conn::Conn;
use crate::net::descriptors::Descriptor;
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::os::fd::OwnedFd;

/// What the pipe is to hold. It holds pages, and one packet fills a third of a page at best.
const SIZE: usize = 4 * READ_SIZE;

/// A worker's pipe. It has none if the system refused one, or refuses splice(2), and passes nothing then.
#[derive(Debug)]
pub struct Splice(Option<Pipe>);

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    _descriptors: [Descriptor; 2],
}

/// How far bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// So many went out, and so many stand at the beginning of the room.
    Bytes { sent: usize, rest: usize },
    /// The source has none, yet.
    Nothing,
    /// The source sends no more.
    End,
}

/// Which of the two connections is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    Source,
    Sink,
}

impl Splice {
    pub fn open() -> Self {
        let pipe = pipe_with(PipeFlags::CLOEXEC).ok();
        // With room for sixteen packets, as it comes, it only takes more calls.
        Self(pipe.map(|(reader, writer)| {
            let _ = fcntl_setpipe_size(&writer, SIZE);
            Pipe { reader, writer, _descriptors: [Descriptor::count(), Descriptor::count()] }
        }))
    }

    /// Whether bytes can pass between these.
    pub fn connects(&self, source: &Conn, sink: &Conn) -> bool {
        self.0.is_some() && source.is_plain_tcp() && sink.is_plain_tcp()
    }

    /// Passes as many bytes as there are, and as `room` holds. Each side is waited for as in a call with
    /// [`Block::Briefly`](crate::net::conn::Block): splice(2) observes the same timeouts. (It has no flag against SIGPIPE,
    /// which Rust's runtime ignores.)
    ///
    /// # Errors
    /// See [`Gone`].
    pub fn pass(&mut self, source: &Conn, sink: &Conn, room: &mut [u8]) -> Result<Passed, Gone> {
        let Some(pipe) = &self.0 else { return Ok(Passed::Nothing) };
        let taken = match splice(source, None, &pipe.writer, None, room.len(), SpliceFlags::MOVE) {
            Ok(0) => return Ok(Passed::End),
            Ok(taken) => taken,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Passed::Nothing),
            // What is there is read as it would be without a pipe.
            Err(error) if is_refusal(error) => {
                self.0 = None;
                return Ok(Passed::Nothing);
            }
            Err(_) => return Err(Gone::Source),
        };
        source.moved.add_received(taken);
        let given = match splice(&pipe.reader, None, sink, None, taken, SpliceFlags::MOVE) {
            Ok(sent) => Ok(sent),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(_) => Err(Gone::Sink),
        };
        sink.moved.add_sent(given.unwrap_or(0));
        let left = taken - given.unwrap_or(0);
        let rest = pipe.read_back(&mut room[..left]);
        if rest < left {
            // The next client would get what is left.
            self.0 = None;
            return Err(Gone::Source);
        }
        Ok(Passed::Bytes { sent: given?, rest })
    }
}

/// Whether the call itself is refused, and not these bytes: a filter of system calls allows none that it does not know, and a
/// kernel in user space (gVisor, for one) may lack it. The other end of the connection has no part in that.
fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::NOSYS | Errno::INVAL)
}

impl Pipe {
    /// All that it holds, as far as there is room.
    fn read_back(&self, room: &mut [u8]) -> usize {
        let mut length = 0;
        while length < room.len() {
            match read(&self.reader, &mut room[length..]) {
                Ok(count @ 1..) => length += count,
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => break,
            }
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::conn::{Block, Received};
    use crate::net::fixtures::pair;
    use std::io::{Read, Write};
    use std::net::Shutdown;

    #[test]
    fn what_the_sink_does_not_take_comes_back_in_order() {
        let ((source, mut sender), (sink, mut reader)) = (pair(), pair());
        let (mut splice, mut room) = (Splice::open(), vec![0; READ_SIZE]);
        let body: Vec<u8> = (0..32_u32 << 20).map(|at| (at % 251) as u8).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sender.write_all(&body).unwrap();
                sender.shutdown(Shutdown::Write).unwrap();
            });
            let (mut sent, mut rest) = (0, 0);
            // Nothing reads: the sink is full in the end.
            while rest == 0 {
                match splice.pass(&source, &sink, &mut room).unwrap() {
                    Passed::Bytes { sent: more, rest: left } => (sent, rest) = (sent + more, left),
                    Passed::Nothing => {}
                    Passed::End => panic!("{sent} bytes fit into the sink's buffers"),
                }
            }
            let mut got = vec![0; sent];
            reader.read_exact(&mut got).unwrap();
            assert!(got == body[..sent] && room[..rest] == body[sent..sent + rest]);
            // The pipe is empty: what comes next is what follows.
            let (mut at, mut got) = (sent + rest, vec![0; READ_SIZE]);
            while at < body.len() {
                match splice.pass(&source, &sink, &mut room).unwrap() {
                    Passed::Bytes { sent, rest } => {
                        reader.read_exact(&mut got[..sent]).unwrap();
                        assert!(got[..sent] == body[at..at + sent]);
                        assert!(room[..rest] == body[at + sent..at + sent + rest]);
                        at += sent + rest;
                    }
                    Passed::Nothing => {}
                    Passed::End => panic!("{at} bytes came"),
                }
            }
            assert_eq!(splice.pass(&source, &sink, &mut room), Ok(Passed::End));
        });
    }

    #[test]
    fn a_side_that_is_gone_leaves_nothing_in_the_pipe() {
        let ((source, mut sender), (sink, reader)) = (pair(), pair());
        let (mut splice, mut room) = (Splice::open(), vec![0; READ_SIZE]);
        assert_eq!(splice.pass(&source, &sink, &mut room), Ok(Passed::Nothing));
        drop(reader);
        while splice.pass(&source, &sink, &mut room) != Err(Gone::Sink) {
            sender.write_all(b"for nobody").unwrap();
        }
        let (other, mut reader) = pair();
        sender.write_all(b"hello").unwrap();
        assert_eq!(splice.pass(&source, &other, &mut room), Ok(Passed::Bytes { sent: 5, rest: 0 }));
        let mut got = [0; 5];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        assert_eq!(other.receive(&mut got, Block::Never).unwrap(), Received::Nothing);
    }
}
