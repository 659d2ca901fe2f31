//! Ending in good order when told to.

use anyhow::{Result, bail};
use tokio::signal;

/// Carries out the work, but drops it when the program is told to end, by Ctrl-C
/// or (on Unix) SIGTERM. From the first call on these no longer end the program:
/// the caller does, after tidying up.
///
/// # Errors
///
/// The work's, or that it was interrupted.
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
