//! What clients send: frames cut whole, bounded, and checked before they are believed.
//!
//! Reading is safe to cancel: bytes that came stay in the buffer. While a statement runs, reading
//! goes on up to a bound, because that is how a client that went away is noticed.

use std::io;

use bytes::{Buf, BytesMut};
use pgwire::api::Type;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::PgError;

/// Largest frame: a statement with its parameters, as over HTTP.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Largest first packet, as in PostgreSQL.
const STARTUP_BYTES_MAX: usize = 10_000;
/// How much is read ahead of a running statement.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// The first packet of a connection.
#[derive(Debug)]
pub(super) enum Opening {
    /// May we speak TLS?
    Ssl,
    /// May we speak GSSAPI?
    Gss,
    /// Cancel what another connection runs.
    Cancel { process: i32, secret: i32 },
    /// Protocol version and parameters.
    Startup { major: u16, minor: u16, parameters: Vec<(String, String)> },
}

/// What a connection asks for.
#[derive(Debug)]
pub(super) enum Frontend {
    Query(String),
    Parse {
        name: String,
        sql: String,
        types: Vec<Type>,
    },
    Bind(Bind),
    Describe(Target),
    Close(Target),
    Execute {
        portal: String,
        rows_max: usize,
    },
    Flush,
    Sync,
    Terminate,
    /// Data of a COPY FROM that was refused: clients send it on until they hear of that.
    CopyInput,
}

/// Parameters for a prepared statement.
#[derive(Debug)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    /// None, one for all, or one each: 0 is text, 1 binary.
    pub(super) parameter_formats: Vec<i16>,
    pub(super) parameters: Vec<Option<Vec<u8>>>,
    /// The same for the result's columns.
    pub(super) result_formats: Vec<i16>,
}

/// What Describe and Close are about.
#[derive(Debug)]
pub(super) enum Target {
    Statement(String),
    Portal(String),
}

/// Why no frame was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Where the next frame begins is no longer known.
    #[error("{0}")]
    Broken(String),
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next first packet; `None` at the end.
    pub(super) async fn opening(&mut self) -> Result<Option<Opening>, FrameError> {
        loop {
            if let Some(mut body) = self.cut(0, STARTUP_BYTES_MAX)? {
                return parse_opening(&mut body).map(Some);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next frame; `None` at the end. What it holds may still be wrong.
    pub(super) async fn frame(&mut self) -> Result<Option<Result<Frontend, PgError>>, FrameError> {
        loop {
            let kind = self.buffer.first().copied();
            if let (Some(kind), Some(body)) = (kind, self.cut(1, FRAME_BYTES_MAX)?) {
                return Ok(Some(parse_frame(kind, Body(body))));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Returns when the client has gone; until then what it sends is kept.
    pub(super) async fn gone(&mut self) {
        while self.buffer.len() < READ_AHEAD_BYTES {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        // It sends on without waiting for answers, and is there.
        std::future::pending().await
    }

    /// The body of the frame at the front, once it is complete.
    fn cut(&mut self, at: usize, bytes_max: usize) -> Result<Option<BytesMut>, FrameError> {
        let Some(length) = self.buffer.get(at..at + 4) else { return Ok(None) };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let length = usize::try_from(length).ok().filter(|length| *length >= 4);
        let Some(length) = length.filter(|length| *length <= bytes_max + 4) else {
            return Err(FrameError::Broken(format!(
                "invalid message length: more than {bytes_max} bytes or less than none"
            )));
        };
        if self.buffer.len() < at + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(at + length);
        frame.advance(at + 4);
        Ok(Some(frame))
    }
}

const CANCEL_REQUEST: i32 = 80_877_102;
const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;

fn parse_opening(body: &mut BytesMut) -> Result<Opening, FrameError> {
    let broken = || FrameError::Broken("invalid startup packet".to_owned());
    let mut body = Body(std::mem::take(body));
    match body.i32().map_err(|_| broken())? {
        SSL_REQUEST => Ok(Opening::Ssl),
        GSS_REQUEST => Ok(Opening::Gss),
        CANCEL_REQUEST => {
            let process = body.i32().map_err(|_| broken())?;
            Ok(Opening::Cancel { process, secret: body.i32().map_err(|_| broken())? })
        }
        version => {
            let [a, b, c, d] = version.to_be_bytes();
            let mut parameters = Vec::new();
            loop {
                let name = body.text().map_err(|_| broken())?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, body.text().map_err(|_| broken())?));
            }
            let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            Ok(Opening::Startup { major, minor, parameters })
        }
    }
}

fn parse_frame(kind: u8, mut body: Body) -> Result<Frontend, PgError> {
    Ok(match kind {
        b'Q' => Frontend::Query(body.text()?),
        b'P' => {
            let (name, sql) = (body.text()?, body.text()?);
            let count = body.count()?;
            let types = (0..count).map(|_| Ok(type_of(body.u32()?)));
            Frontend::Parse { name, sql, types: types.collect::<Result<_, PgError>>()? }
        }
        b'B' => Frontend::Bind(parse_bind(&mut body)?),
        b'D' => Frontend::Describe(body.target()?),
        b'C' => Frontend::Close(body.target()?),
        b'E' => {
            let portal = body.text()?;
            // Zero, and by convention anything below, is all.
            let rows_max = usize::try_from(body.i32()?).unwrap_or(0);
            Frontend::Execute { portal, rows_max }
        }
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        b'X' => Frontend::Terminate,
        b'd' | b'c' | b'f' => Frontend::CopyInput,
        other => {
            return Err(PgError::protocol(format!("invalid frontend message type {other}")));
        }
    })
}

fn parse_bind(body: &mut Body) -> Result<Bind, PgError> {
    let (portal, statement) = (body.text()?, body.text()?);
    let parameter_formats = body.formats()?;
    let count = body.count()?;
    let parameters = (0..count).map(|_| {
        let length = body.i32()?;
        match usize::try_from(length) {
            Ok(length) => body.bytes(length).map(|bytes| Some(bytes.to_vec())),
            Err(_) => Ok(None),
        }
    });
    let parameters = parameters.collect::<Result<_, PgError>>()?;
    let result_formats = body.formats()?;
    Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
}

/// A type by its OID; one that we do not know is left to be inferred.
fn type_of(oid: u32) -> Type {
    Type::from_oid(oid).unwrap_or(Type::UNKNOWN)
}

/// A frame's body, read from the front.
struct Body(BytesMut);

impl Body {
    fn bytes(&mut self, length: usize) -> Result<BytesMut, PgError> {
        if self.0.len() < length {
            return Err(PgError::protocol("insufficient data left in message".to_owned()));
        }
        Ok(self.0.split_to(length))
    }

    fn u8(&mut self) -> Result<u8, PgError> {
        Ok(self.bytes(1)?.get_u8())
    }

    fn i16(&mut self) -> Result<i16, PgError> {
        Ok(self.bytes(2)?.get_i16())
    }

    fn i32(&mut self) -> Result<i32, PgError> {
        Ok(self.bytes(4)?.get_i32())
    }

    fn u32(&mut self) -> Result<u32, PgError> {
        Ok(self.bytes(4)?.get_u32())
    }

    /// How many follow: unsigned, though PostgreSQL's documentation says Int16.
    fn count(&mut self) -> Result<u16, PgError> {
        Ok(self.bytes(2)?.get_u16())
    }

    fn formats(&mut self) -> Result<Vec<i16>, PgError> {
        (0..self.count()?).map(|_| self.i16()).collect()
    }

    fn text(&mut self) -> Result<String, PgError> {
        let Some(end) = self.0.iter().position(|byte| *byte == 0) else {
            return Err(PgError::protocol("invalid string in message".to_owned()));
        };
        let text = self.0.split_to(end);
        self.0.advance(1);
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(PgError::new(
                "22021",
                format!("invalid byte sequence for encoding \"UTF8\": {error}"),
            )),
        }
    }

    fn target(&mut self) -> Result<Target, PgError> {
        match self.u8()? {
            b'S' => Ok(Target::Statement(self.text()?)),
            b'P' => Ok(Target::Portal(self.text()?)),
            other => Err(PgError::protocol(format!("invalid subtype {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[tokio::test]
    async fn frames_are_cut_however_they_come() {
        let bytes = [framed(b'Q', b"select 1\0"), framed(b'S', b"")].concat();
        for size in 1..bytes.len() {
            let (client, server) = tokio::io::duplex(size);
            let mut reader = FrameReader::new(server);
            let (mut client, bytes) = (client, bytes.clone());
            let sent = tokio::spawn(async move { client.write_all(&bytes).await });
            let first = reader.frame().await.unwrap().unwrap().unwrap();
            assert!(matches!(first, Frontend::Query(sql) if sql == "select 1"));
            assert!(matches!(reader.frame().await.unwrap(), Some(Ok(Frontend::Sync))));
            assert!(reader.frame().await.unwrap().is_none());
            sent.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_length_that_is_a_lie_is_not_believed() {
        for length in [0, 3, -1, i32::MAX, i32::try_from(FRAME_BYTES_MAX).unwrap() + 5] {
            let bytes = [&[b'Q'][..], &length.to_be_bytes()].concat();
            let error = FrameReader::new(&bytes[..]).frame().await.unwrap_err();
            assert!(matches!(error, FrameError::Broken(_)), "{length}");
        }
        let bytes = 100_000_i32.to_be_bytes();
        assert!(FrameReader::new(&bytes[..]).opening().await.is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse_frame(kind, Body(BytesMut::from(&body[..])));
            let _ = parse_opening(&mut BytesMut::from(&body[..]));
        }
    }
}
