//! A small Kafka client: any request in any version, one at a time or pipelined, and raw bytes.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::{
    ApiKey, DecodeError, EncodeError, Message, Reader, Records, Request, ResponseHeader,
    frame::encode_request,
    messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse},
    records::{BatchBuilder, Compression, RecordError},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The broker closed the connection.
    #[error("the connection is closed")]
    Closed,
    /// The stream failed.
    #[error("i/o: {0}")]
    Io(#[from] io::Error),
    /// The request does not fit its version.
    #[error("request: {0}")]
    Encode(#[from] EncodeError),
    /// The answer is not one.
    #[error("response: {0}")]
    Decode(#[from] DecodeError),
    /// The answer is to another request.
    #[error("answer to {found}, expected {expected}")]
    OutOfOrder {
        /// The correlation id expected.
        expected: i32,
        /// The one that came.
        found: i32,
    },
}

/// One connection to a broker.
#[derive(Debug)]
pub struct Client {
    stream: DuplexStream,
    sent: i32,
    received: i32,
    /// `client.id` of the requests.
    pub client_id: String,
}

impl Client {
    /// Over one end of a pipe.
    #[must_use]
    pub fn new(stream: DuplexStream) -> Self {
        Self { stream, sent: 0, received: 0, client_id: "test".to_owned() }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        self.send(request, version).await?;
        self.receive::<R>(version).await
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<(), ClientError> {
        let frame = encode_request(request, version, self.sent, Some(&self.client_id))?;
        self.sent += 1;
        self.send_raw(&frame.to_bytes()).await
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(bytes).await?;
        Ok(())
    }

    /// Reads the answer to the oldest request that has none yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response, ClientError> {
        let mut reader = self.receive_header(R::API_KEY, version).await?;
        Ok(R::Response::decode(&mut reader, version)?)
    }

    async fn receive_header(&mut self, api: ApiKey, version: i16) -> Result<Reader, ClientError> {
        let frame = self.receive_raw().await?;
        let mut reader = Reader::new(frame);
        let found = ResponseHeader::decode(&mut reader, api, version)?.correlation_id;
        let expected = self.received;
        self.received += 1;
        if found == expected {
            Ok(reader)
        } else {
            Err(ClientError::OutOfOrder { expected, found })
        }
    }

    /// Reads one frame, without its length.
    ///
    /// # Errors
    /// [`ClientError::Closed`] at the end of the stream.
    pub async fn receive_raw(&mut self) -> Result<Bytes, ClientError> {
        let length = match self.stream.read_i32().await {
            Ok(length) => usize::try_from(length).map_err(|_| ClientError::Closed)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ClientError::Closed);
            }
            Err(error) => return Err(error.into()),
        };
        let mut frame = BytesMut::zeroed(length);
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.freeze())
    }

    /// Has the topics created with the broker's defaults, and returns their metadata.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_topics(&mut self, names: &[&str]) -> Result<MetadataResponse, ClientError> {
        let topics = names
            .iter()
            .map(|name| MetadataRequestTopic {
                name: Some((*name).to_owned()),
                ..Default::default()
            })
            .collect();
        let request = MetadataRequest {
            topics: Some(topics),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        self.call(&request, 12).await
    }
}

/// A batch of records with these values, without keys, as a producer sends it. A producer id makes
/// it idempotent.
///
/// # Errors
/// Where the values are too large for a batch.
pub fn batch(
    timestamp_ms: i64,
    producer: Option<(i64, i16, i32)>,
    values: &[&[u8]],
) -> Result<Records, RecordError> {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((producer_id, producer_epoch, base_sequence)) = producer {
        builder = builder.producer(producer_id, producer_epoch, base_sequence);
    }
    for (delta, value) in (0..).zip(values) {
        builder.append(delta, timestamp_ms, None, Some(value), &[])?;
    }
    Ok(builder.build()?.into())
}
