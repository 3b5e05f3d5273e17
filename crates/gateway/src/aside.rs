//! Work on many bytes, beside the thread that serves everybody: JSON that is read, or made of a long reply.
//!
//! Cost of JSON: 1 to 20 ns a byte, the most where a string is no UTF-8. What is short is done at once, which costs less than to
//! have another thread do it.

use tokio::task::spawn_blocking;

use crate::limits::AT_ONCE_BYTES_MAX;
use crate::response::Refusal;
use crate::session::closed;

/// What `work` on so many bytes gives. Who is gone meanwhile has it done all the same.
pub(crate) async fn aside<R: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Refusal> {
    if bytes <= AT_ONCE_BYTES_MAX {
        return Ok(work());
    }
    // It is given up where the server stops; a panic would have ended the process.
    spawn_blocking(work).await.map_err(|_| closed())
}
