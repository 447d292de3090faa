//! Answers from memory and from files, over real sockets and over a pipe.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs::File, io::Write, os::fd::BorrowedFd, os::unix::fs::FileExt};

use common::spawn::Fatal;
use protocol::{Records, Slice, Source, Writer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, duplex},
    net::TcpListener,
};

use super::*;

#[derive(Debug)]
struct Opened {
    file: File,
    sendable: bool,
}

impl Source for Opened {
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(bytes.into())
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.sendable.then(|| self.file.as_fd())
    }
}

fn spawner() -> Spawner {
    Spawner::threads(Fatal::new(|reason| panic!("{reason}")))
}

fn numbers(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect()
}

/// An unlinked file with these bytes.
fn source(bytes: &[u8], sendable: bool) -> Arc<dyn Source> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(Opened { file, sendable })
}

fn slice(source: &Arc<dyn Source>, position: usize, len: usize) -> Slice {
    Slice { source: Arc::clone(source), position: position as u64, len }
}

fn queued(records: &Records) -> Outbox {
    let mut writer = Writer::framed();
    writer.nullable_records(Some(records), false, "records").unwrap();
    let mut outbox = Outbox::default();
    outbox.push(writer.finish_frame().unwrap(), Vec::new());
    outbox
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(connect, listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

/// Reads to the end, in pieces of `step` bytes.
async fn read_all(mut stream: impl AsyncRead + Unpin, step: usize) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), vec![0; step]);
    loop {
        match stream.read(&mut piece).await.unwrap() {
            0 => return all,
            read => all.extend_from_slice(&piece[..read]),
        }
    }
}

/// Memory and slices in turn; the records and their bytes.
fn mixed(bytes: &[u8], source: &Arc<dyn Source>) -> (Records, Vec<u8>) {
    let mut records = Records::new();
    let mut expected = Vec::new();
    let half = bytes.len() / 2;
    for (memory, from, len) in [(5000, 100, half), (0, 7, 20_000), (3, half, half - 9)] {
        records.push(Bytes::copy_from_slice(&bytes[..memory]));
        records.push_slice(slice(source, from, len));
        expected.extend_from_slice(&bytes[..memory]);
        expected.extend_from_slice(&bytes[from..from + len]);
    }
    records.push(Bytes::from_static(b"end"));
    expected.extend_from_slice(b"end");
    (records, expected)
}

/// The frame's bytes behind both lengths.
fn body(all: &[u8]) -> &[u8] {
    let length = i32::from_be_bytes(all[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), all.len() - 4);
    &all[8..]
}

#[tokio::test]
async fn files_and_memory_arrive_in_order_over_a_socket_however_slowly_it_is_read() {
    let bytes = numbers(12 << 20);
    for (sendable, step) in [(true, 1 << 20), (true, 7000), (false, 1 << 20)] {
        let source = source(&bytes, sendable);
        let (records, expected) = mixed(&bytes, &source);
        let (mut ours, theirs) = sockets().await;
        let write = async {
            let mut outbox = queued(&records);
            outbox.flush(&mut ours, &spawner()).await.unwrap();
            assert!(outbox.is_empty());
            drop(ours);
        };
        let ((), all) = tokio::join!(write, read_all(theirs, step));
        assert!(body(&all) == expected, "sendable {sendable}, step {step}");
    }
}

#[tokio::test]
async fn files_go_through_memory_where_the_stream_is_no_socket() {
    let bytes = numbers(3 << 20);
    let source = source(&bytes, true);
    let (records, expected) = mixed(&bytes, &source);
    let (mut ours, theirs) = duplex(10_000);
    let write = async {
        queued(&records).flush(&mut ours, &spawner()).await.unwrap();
        drop(ours);
    };
    let ((), all) = tokio::join!(write, read_all(theirs, 4096));
    assert!(body(&all) == expected);
}

#[tokio::test]
async fn a_file_that_is_too_short_ends_the_connection() {
    for sendable in [true, false] {
        let source = source(&numbers(50_000), sendable);
        let mut records = Records::new();
        records.push_slice(slice(&source, 20_000, 40_000));
        let (mut ours, _theirs) = sockets().await;
        let close = queued(&records).flush(&mut ours, &spawner()).await.unwrap_err();
        let Close::Io(error) = &close else { panic!("{close}") };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_connection() {
    let bytes = numbers(12 << 20);
    let (records, _) = mixed(&bytes, &source(&bytes, true));
    let (mut ours, theirs) = sockets().await;
    drop(theirs);
    let close = queued(&records).flush(&mut ours, &spawner()).await.unwrap_err();
    assert!(matches!(close, Close::Io(_)), "{close}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let bytes = numbers(32 << 20);
    let mut records = Records::new();
    records.push_slice(slice(&source(&bytes, true), 0, bytes.len()));
    let (mut ours, _theirs) = sockets().await;
    let close = queued(&records).flush(&mut ours, &spawner()).await.unwrap_err();
    assert!(matches!(close, Close::Stalled(_)), "{close}");
}
