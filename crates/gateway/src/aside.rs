//! Work on many bytes, beside the thread that serves everybody: JSON that is read, or made of a long reply, and its checksum.
//!
//! Cost of JSON: 1 to 20 ns a byte, the most where a string is no UTF-8. What is short is done at once, which costs less than to
//! have another thread do it.

use tokio::task::spawn_blocking;

use crate::budget::Held;
use crate::limits::AT_ONCE_BYTES_MAX;
use crate::response::Refusal;
use crate::session::closed;

/// What `work` on so many bytes gives. Who is gone meanwhile has it done all the same, so what the bytes count for (`held`) goes
/// with it, and comes back.
pub(crate) async fn aside<R: Send + 'static>(
    bytes: usize,
    held: &mut Held,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Refusal> {
    if bytes <= AT_ONCE_BYTES_MAX {
        return Ok(work());
    }
    let nothing = Held::new(held.budget());
    let gone_along = std::mem::replace(held, nothing);
    // What is given goes before what it counts for.
    let task = spawn_blocking(move || (work(), gone_along));
    // It is given up where the server stops; a panic would have ended the process.
    let (done, come_back) = task.await.map_err(|_| closed())?;
    *held = come_back;
    Ok(done)
}
