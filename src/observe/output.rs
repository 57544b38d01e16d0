//! An output of the process, to which whole lines are written.
//!
//! The problem: a pipe, a terminal or a disk may take a part of what is written to it, or nothing. std's `write_all`
//! then returns an error that does not say how much was written: lines vanish uncounted, and the next one is glued to
//! half of another. So each write is made here, and a line that could not be finished is ended before the next one
//! begins.
//!
//! Not here: which lines these are, and who hears of the lost ones (`logger`).

use memchr::memchr_iter;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// See the module.
pub(super) struct Output<F> {
    fd: F,
    end: End,
}

/// Where the last write stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    OfLine,
    MidLine,
}

/// Lines that could not be written, or not to their ends.
#[derive(Debug)]
pub(super) struct Lost {
    pub lines: u64,
    pub error: io::Error,
}

impl<F: AsFd> Output<F> {
    pub fn new(fd: F) -> Self {
        Self { fd, end: End::OfLine }
    }

    /// Behind half of a line, which is ended before the first.
    pub fn behind_torn_line(fd: F) -> Self {
        Self { fd, end: End::MidLine }
    }

    /// See [`identity`].
    pub fn identity(&self) -> Option<(u64, u64)> {
        identity(&self.fd)
    }

    /// Writes lines, each with its end. Blocks while the output takes nothing, also if it is non-blocking, which
    /// another process that shares it may have made it.
    ///
    /// # Errors
    /// How many of them are lost, and why.
    pub fn write_lines(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let mut rest = lines;
        let written = self.end_the_last_line().and_then(|()| self.write_all(&mut rest));
        written.map_err(|error| Lost { lines: memchr_iter(b'\n', rest).count() as u64, error })
    }

    /// The other half of a torn line is not kept for later: after a full disk the file may have been emptied.
    fn end_the_last_line(&mut self) -> io::Result<()> {
        match self.end {
            End::OfLine => Ok(()),
            End::MidLine => self.write_all(&mut b"\n".as_slice()),
        }
    }

    /// On an error, `rest` is what was not written.
    fn write_all(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match rustix::io::write(&self.fd, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let (written, left) = rest.split_at(count);
                    self.end = if written.ends_with(b"\n") { End::OfLine } else { End::MidLine };
                    *rest = left;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.fd, PollFlags::OUT)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The device and the number of the file behind a descriptor, which no other file has.
pub(super) fn identity(fd: impl AsFd) -> Option<(u64, u64)> {
    let file = File::from(fd.as_fd().try_clone_to_owned().ok()?);
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::ioctl_fionbio;
    use std::io::{Read, pipe};
    use std::thread;

    /// More than a pipe holds.
    const LINES: usize = 20_000;

    #[test]
    fn a_non_blocking_pipe_gets_every_line() {
        let (mut reader, writer) = pipe().unwrap();
        ioctl_fionbio(&writer, true).unwrap();
        let sent = b"a line of some length\n".repeat(LINES);
        let received = thread::scope(|scope| {
            let read = scope.spawn(move || {
                let mut received = Vec::new();
                reader.read_to_end(&mut received).map(|_| received)
            });
            Output::new(writer).write_lines(&sent).unwrap();
            read.join().unwrap().unwrap()
        });
        assert!(received == sent);
    }

    #[test]
    fn the_lines_of_a_broken_pipe_are_counted() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let lost = Output::new(writer).write_lines(b"one\ntwo\n").unwrap_err();
        assert_eq!((lost.lines, lost.error.kind()), (2, io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next_one() {
        let (mut reader, writer) = pipe().unwrap();
        let mut output = Output::new(writer);
        output.write_all(&mut b"one\nhalf of two".as_slice()).unwrap();
        output.write_lines(b"three\n").unwrap();
        output.write_lines(b"four\n").unwrap();
        drop(output);
        let mut received = String::new();
        reader.read_to_string(&mut received).unwrap();
        assert_eq!(received, "one\nhalf of two\nthree\nfour\n");
    }

    #[test]
    fn two_descriptors_of_one_file_are_one() {
        let (reader, writer) = pipe().unwrap();
        let (_other, other_writer) = pipe().unwrap();
        assert!(identity(&writer).is_some());
        assert_eq!(identity(&reader), identity(&writer));
        assert_ne!(identity(&writer), identity(&other_writer));
    }
}
