//! Sends pieces to a socket, slices of files without copying them: `sendfile(2)` goes from the
//! page cache to the socket.
//!
//! It blocks while the disk reads, so it runs off the async threads, on a descriptor of its own for
//! the same socket. Invariant: the queue holds exactly what was not sent.

use std::{collections::VecDeque, io, os::fd::OwnedFd};

use bytes::Buf;
use protocol::{Piece, Slice};
use rustix::{
    fs::sendfile,
    io::Errno,
    net::{SendFlags, send},
};

/// Bytes in one system call; Linux takes hardly more.
const SEND_BYTES_MAX: usize = 1 << 30;

/// How far a call got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Everything.
    All,
    /// As much as the socket takes now.
    Full,
    /// Up to a slice that cannot be sent from where it lies.
    NotFromFile,
}

/// Sends what is queued, as far as the socket takes it.
pub(super) fn send_pieces(socket: &OwnedFd, pieces: &mut VecDeque<Piece>) -> io::Result<Sent> {
    while let Some(front) = pieces.front() {
        let sent = match front {
            Piece::Bytes(bytes) => {
                let flags = match pieces.len() {
                    1 => SendFlags::NOSIGNAL,
                    _ => SendFlags::NOSIGNAL | SendFlags::MORE,
                };
                send(socket, bytes, flags)
            }
            Piece::Slice(slice) => match send_slice(socket, slice) {
                Ok(Some(0)) => return Err(shorter(slice)),
                Ok(Some(sent)) => Ok(sent),
                Ok(None) | Err(Errno::INVAL | Errno::NOSYS) => return Ok(Sent::NotFromFile),
                Err(error) => Err(error),
            },
        };
        match sent {
            Ok(sent) => advance(pieces, sent),
            Err(Errno::AGAIN) => return Ok(Sent::Full),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Sent::All)
}

fn send_slice(socket: &OwnedFd, slice: &Slice) -> Result<Option<usize>, Errno> {
    let Some(file) = slice.source.file() else { return Ok(None) };
    let mut position = slice.position;
    sendfile(socket, file, Some(&mut position), slice.len.min(SEND_BYTES_MAX)).map(Some)
}

/// The answer's length is on its way, so it can only be cut off.
fn shorter(slice: &Slice) -> io::Error {
    let reason = format!("{:?} ends before position {}", slice.source, slice.position);
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

/// Takes `sent` bytes off the front.
pub(super) fn advance(pieces: &mut VecDeque<Piece>, mut sent: usize) {
    while let Some(front) = pieces.front_mut() {
        if sent < front.len() {
            match front {
                Piece::Bytes(bytes) => bytes.advance(sent),
                Piece::Slice(slice) => {
                    slice.position += sent as u64;
                    slice.len -= sent;
                }
            }
            return;
        }
        sent -= front.len();
        pieces.pop_front();
    }
}
