use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A network between a client and a server that the experiment has started. It can
/// be cut: then nothing passes any more, and neither side is told.
pub struct Link {
    address: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Link {
    /// A network whose other end is that server, as long as the tasks of the caller
    /// are run.
    pub async fn to(server: SocketAddr) -> Result<Link> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (whole, state) = watch::channel(true);
        let link = Link { address: listener.local_addr()?, whole };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, server, state.clone()));
            }
        });
        Ok(link)
    }

    /// Where clients reach the server through it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it: what is sent from now on waits until it is mended.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets everything pass again, first of all what waits.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

/// One connection. It ends when the server ends its half, or refuses it.
async fn connect(client: TcpStream, server: SocketAddr, state: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = pass(from_client, to_server, state.clone()) => {}
        _ = pass(from_server, to_client, state) => {}
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut state: watch::Receiver<bool>,
) -> Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let count = from.read(&mut bytes).await?;
        // Also the end of a connection is news that does not pass a cut network.
        state.wait_for(|whole| *whole).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}
