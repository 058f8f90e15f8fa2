//! The feed, as HTTP sends it.

use poem::{Body, IntoResponse, Response};
use poem_openapi::{
    ApiResponse,
    payload::Payload,
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};

use super::EventView;
use crate::feed::Reader;

/// Server-Sent Events.
pub(super) struct Sse(Body);

impl Payload for Sse {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(EventView::schema_ref())),
            ..MetaSchema::new_with_format("array", "event-stream")
        }))
    }

    fn register(registry: &mut Registry) {
        EventView::register(registry);
    }
}

impl IntoResponse for Sse {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::CONTENT_TYPE).body(self.0)
    }
}

/// The live stream.
#[derive(ApiResponse)]
pub(super) enum LiveEvents {
    /// Events as they happen.
    #[oai(status = 200)]
    Stream(
        Sse,
        /// Nobody keeps it, and nobody packs it: what is packed waits for more.
        #[oai(header = "Cache-Control")]
        String,
        /// Proxies in between pass it on at once.
        #[oai(header = "X-Accel-Buffering")]
        String,
    ),
}

impl LiveEvents {
    pub(super) fn new(reader: Reader) -> Self {
        let chunks = futures_util::stream::unfold(reader, |mut reader| async {
            let bytes = reader.next().await?;
            Some((Ok::<_, std::io::Error>(bytes), reader))
        });
        let body = Body::from_bytes_stream(chunks);
        Self::Stream(Sse(body), "no-store, no-transform".to_owned(), "no".to_owned())
    }
}
