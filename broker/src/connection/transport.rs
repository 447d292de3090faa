//! What a connection is served over: a socket, or a pipe in the same process.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, Interest},
    net::TcpStream,
};

/// A stream that a connection can be served over.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The socket, where it is one that the kernel can send files to; else what lies in files is
    /// read and written like everything else.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

impl Transport for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Transport for DuplexStream {}

/// Waits until a socket takes bytes that another thread was refused. The runtime does not know of
/// that refusal, so what it remembers of the socket is checked against the system.
pub(super) async fn writable(socket: &TcpStream) -> io::Result<()> {
    loop {
        socket.writable().await?;
        match socket.try_io(Interest::WRITABLE, || takes_bytes(socket)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

fn takes_bytes(socket: &TcpStream) -> io::Result<()> {
    let mut sockets = [PollFd::new(socket, PollFlags::OUT)];
    // An error of the socket counts as ready: the next write tells it.
    match poll(&mut sockets, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}
