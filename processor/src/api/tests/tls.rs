//! The routes over TLS, on a socket.

use std::path::{Path, PathBuf};

use tokio::net::TcpStream;

use super::sockets::{Server, limits};
use super::world::{Outcome, small};
use crate::api::server_config;

/// A certificate of a test's own as PEM, and the files of it and its key.
pub(super) fn certificate(folder: &Path) -> Outcome<(String, [PathBuf; 2])> {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let files = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&files[0], own.cert.pem())?;
    std::fs::write(&files[1], own.signing_key.serialize_pem())?;
    Ok((own.cert.pem(), files))
}

#[tokio::test]
async fn a_read_over_tls_is_answered_while_another_client_says_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (own, [certificate, key]) = certificate(folder.path())?;
    let tls = server_config(&certificate, &key)?;
    let server = Server::start(small()?.routes(), limits(), Some(tls)).await?;

    let _silent = TcpStream::connect(server.address).await?;
    let (client, url) = server.https(&own)?;
    let url = format!("{url}/v1/bases/BTC");
    let answer = client.get(&url).send().await?;
    assert_eq!(answer.status().as_u16(), 200);
    let plain = client.get(url.replace("https", "http")).send().await;
    assert!(plain.is_err());
    server.stop().await
}

#[test]
fn what_is_no_certificate_is_named() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cert.pem");
    std::fs::write(&file, "nothing")?;
    let error = server_config(&file, &file).err().ok_or("a certificate was read")?;
    assert!(format!("{error:#}").contains("cert.pem"), "{error:#}");
    Ok(())
}
