//! A client that speaks the protocol byte by byte, and reads answers with another implementation.

use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use pgwire::messages::{DecodeContext, PgWireBackendMessage as Message, ProtocolVersion};
use streamhouse_query::pg::PgServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    time::timeout,
};

/// Bytes on the way to a client that does not read.
const PIPE_BYTES: usize = 64 << 10;
/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    stream: DuplexStream,
    buffer: BytesMut,
    context: DecodeContext,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) process: i32,
    pub(crate) secret: i32,
}

/// What came up to ReadyForQuery or the end.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The kinds of messages in order: T columns, D row, C tag, E error, and so on; a run of rows
    /// is one D.
    pub(crate) kinds: String,
    pub(crate) columns: Vec<(String, u32)>,
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
    pub(crate) tags: Vec<String>,
    pub(crate) errors: Vec<Error>,
    pub(crate) copied: Vec<u8>,
    pub(crate) parameter_types: Vec<u32>,
    /// I, T or E; a blank where the connection ended.
    pub(crate) status: char,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) severity: String,
    pub(crate) state: String,
    pub(crate) message: String,
    pub(crate) position: Option<usize>,
}

impl Answer {
    /// Rows with their cells joined by `|`; nothing is `∅`.
    pub(crate) fn texts(&self) -> Vec<String> {
        let cell = |cell: &Option<Vec<u8>>| match cell {
            Some(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            None => "∅".to_owned(),
        };
        self.rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join("|")).collect()
    }

    pub(crate) fn state(&self) -> &str {
        self.errors.first().map_or("", |error| error.state.as_str())
    }
}

impl Client {
    /// A connection on which nothing was said.
    pub(crate) fn raw(server: &PgServer) -> Self {
        let (stream, served) = tokio::io::duplex(PIPE_BYTES);
        let server = server.clone();
        tokio::spawn(async move { server.serve_stream(served).await });
        let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        Self {
            stream,
            buffer: BytesMut::new(),
            context,
            parameters: Vec::new(),
            process: 0,
            secret: 0,
        }
    }

    pub(crate) async fn connect(server: &PgServer) -> Self {
        Self::connect_with(server, &[("user", "me"), ("database", "any")]).await
    }

    pub(crate) async fn connect_with(server: &PgServer, parameters: &[(&str, &str)]) -> Self {
        let mut client = Self::raw(server);
        client.startup(196_608, parameters).await;
        let answer = client.answer().await;
        assert_eq!(answer.errors, []);
        assert!(answer.kinds.starts_with('R') && answer.kinds.ends_with("KZ"), "{}", answer.kinds);
        client
    }

    /// The first packet.
    pub(crate) async fn startup(&mut self, version: i32, parameters: &[(&str, &str)]) {
        let mut body = BytesMut::new();
        body.put_i32(version);
        for (name, value) in parameters {
            text(&mut body, name);
            text(&mut body, value);
        }
        if version != 80_877_103 {
            body.put_u8(0);
        }
        self.bytes(&[&length(&body), &body[..]].concat()).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn byte(&mut self) -> u8 {
        timeout(PATIENCE, self.stream.read_u8()).await.unwrap().unwrap()
    }

    pub(crate) async fn send(&mut self, kind: u8, body: &[u8]) {
        self.bytes(&[&[kind][..], &length(body), body].concat()).await;
    }

    pub(crate) async fn query(&mut self, sql: &str) -> Answer {
        self.ask(sql).await;
        self.answer().await
    }

    /// A query whose answer is not read.
    pub(crate) async fn ask(&mut self, sql: &str) {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat()).await;
    }

    pub(crate) async fn parse(&mut self, name: &str, sql: &str, types: &[u32]) {
        let mut body = BytesMut::new();
        text(&mut body, name);
        text(&mut body, sql);
        body.put_u16(types.len().try_into().unwrap());
        types.iter().for_each(|kind| body.put_u32(*kind));
        self.send(b'P', &body).await;
    }

    /// Binds to the portal of the same name; one format for all values, and one for all columns.
    pub(crate) async fn bind(
        &mut self,
        name: &str,
        format: i16,
        values: &[Option<&[u8]>],
        results: i16,
    ) {
        let mut body = BytesMut::new();
        text(&mut body, name);
        text(&mut body, name);
        body.put_u16(1);
        body.put_i16(format);
        body.put_u16(values.len().try_into().unwrap());
        for value in values {
            match value {
                Some(value) => {
                    body.put_i32(value.len().try_into().unwrap());
                    body.put_slice(value);
                }
                None => body.put_i32(-1),
            }
        }
        body.put_u16(1);
        body.put_i16(results);
        self.send(b'B', &body).await;
    }

    /// Describe or Close of a statement (S) or portal (P).
    pub(crate) async fn target(&mut self, kind: u8, what: u8, name: &str) {
        self.send(kind, &[&[what][..], name.as_bytes(), b"\0"].concat()).await;
    }

    pub(crate) async fn execute(&mut self, portal: &str, rows_max: i32) {
        let body = [portal.as_bytes(), b"\0", &rows_max.to_be_bytes()].concat();
        self.send(b'E', &body).await;
    }

    pub(crate) async fn sync(&mut self) -> Answer {
        self.send(b'S', &[]).await;
        self.answer().await
    }

    /// Everything up to ReadyForQuery, or to the end of the connection.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = Answer { status: ' ', ..Answer::default() };
        while let Some(message) = self.next().await {
            if self.took(message, &mut answer) {
                break;
            }
        }
        answer
    }

    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = Message::decode(&mut self.buffer, &self.context).unwrap() {
                return Some(message);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            if read.expect("an answer in time").unwrap() == 0 {
                assert!(self.buffer.is_empty(), "half a message");
                return None;
            }
        }
    }

    /// True at ReadyForQuery.
    fn took(&mut self, message: Message, answer: &mut Answer) -> bool {
        let kind = match message {
            Message::Authentication(_) => 'R',
            Message::ParameterStatus(status) => {
                self.parameters.push((status.name, status.value));
                'S'
            }
            Message::BackendKeyData(key) => {
                self.process = key.pid;
                self.secret = match key.secret_key {
                    pgwire::messages::startup::SecretKey::I32(secret) => secret,
                    other @ pgwire::messages::startup::SecretKey::Bytes(_) => panic!("{other:?}"),
                };
                'K'
            }
            Message::NegotiateProtocolVersion(_) => 'v',
            Message::ParseComplete(_) => '1',
            Message::BindComplete(_) => '2',
            Message::CloseComplete(_) => '3',
            Message::NoData(_) => 'n',
            Message::PortalSuspended(_) => 's',
            Message::EmptyQueryResponse(_) => 'I',
            Message::ParameterDescription(description) => {
                answer.parameter_types = description.types;
                't'
            }
            Message::RowDescription(description) => {
                let columns = description.fields.into_iter();
                answer.columns = columns.map(|field| (field.name, field.type_id)).collect();
                'T'
            }
            Message::DataRow(row) => {
                let mut data = row.data;
                let cells = (0..row.field_count).map(|_| {
                    let length = data.get_i32();
                    (length >= 0).then(|| data.split_to(length.try_into().unwrap()).to_vec())
                });
                let cells = cells.collect();
                answer.rows.push(cells);
                'D'
            }
            Message::CommandComplete(complete) => {
                answer.tags.push(complete.tag);
                'C'
            }
            Message::ErrorResponse(response) => {
                let field = |kind: u8| {
                    let found = response.fields.iter().find(|(field, _)| *field == kind);
                    found.map(|(_, value)| value.clone())
                };
                answer.errors.push(Error {
                    severity: field(b'S').unwrap(),
                    state: field(b'C').unwrap(),
                    message: field(b'M').unwrap(),
                    position: field(b'P').map(|position| position.parse().unwrap()),
                });
                'E'
            }
            Message::CopyOutResponse(_) => 'H',
            Message::CopyData(data) => {
                answer.copied.extend_from_slice(&data.data);
                'd'
            }
            Message::CopyDone(_) => 'c',
            Message::ReadyForQuery(ready) => {
                answer.status = char::from(ready.status as u8);
                'Z'
            }
            other => panic!("{other:?}"),
        };
        let is_run = matches!(kind, 'D' | 'd' | 'S') && answer.kinds.ends_with(kind);
        if !is_run {
            answer.kinds.push(kind);
        }
        kind == 'Z'
    }
}

fn length(body: &[u8]) -> [u8; 4] {
    i32::try_from(body.len() + 4).unwrap().to_be_bytes()
}

fn text(body: &mut BytesMut, text: &str) {
    body.put_slice(text.as_bytes());
    body.put_u8(0);
}
