//! Cleaning up before the program ends.

use anyhow::{Result, bail};
use tokio::signal;

/// Waits for `work`, and returns its result. Drops it if Ctrl-C is pressed or (on Unix) SIGTERM
/// arrives. After the first call these two no longer end the program. The caller must end it, after
/// the cleanup, which a second call can make interruptible, too.
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

    let told: std::io::Result<()> = tokio::select! {
        done = work => return done,
        pressed = signal::ctrl_c() => pressed,
        terminated = terminated => terminated,
    };
    told?;
    bail!("interrupted")
}
