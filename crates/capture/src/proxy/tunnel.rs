//! After a 101 or a CONNECT the connections carry something else than HTTP: its bytes pass in
//! both directions and are not recorded.

use bytes::BytesMut;
use tokio::io::copy_bidirectional;

use super::io::write_both;
use crate::stream::Stream;

/// Passes bytes until both sides have closed, or one failed. What was read behind
/// the heads goes first.
pub(super) async fn tunnel(
    client: &mut Stream,
    upstream: &mut Stream,
    from_client: &mut BytesMut,
    from_upstream: &mut BytesMut,
) {
    let early = async {
        write_both(upstream, from_client, &[]).await?;
        from_client.clear();
        write_both(client, from_upstream, &[]).await?;
        from_upstream.clear();
        copy_bidirectional(client, upstream).await
    };
    if let Err(error) = early.await {
        tracing::debug!(%error, "a tunnel ended");
    }
}
