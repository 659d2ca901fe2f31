//! Cleaning up before the program ends.

use anyhow::{Result, bail};
use tokio::signal;

/// Waits for `work`, and returns its result. Drops `work` if Ctrl-C is pressed or, on Unix, SIGTERM
/// arrives. From the first call on, neither of the two ends the program by itself: the caller must
/// do that, after it has cleaned up. A second call makes the cleanup interruptible, too.
///
/// # Errors
///
/// `work` has failed, or `interrupted`: the program was asked to end.
pub async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    #[cfg(unix)]
    let terminated = async {
        signal::unix::signal(signal::unix::SignalKind::terminate())?.recv().await;
        Ok(())
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending();

    let interrupted: std::io::Result<()> = tokio::select! {
        done = work => return done,
        pressed = signal::ctrl_c() => pressed,
        terminated = terminated => terminated,
    };
    interrupted?;
    bail!("interrupted")
}
