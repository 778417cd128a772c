//! The routes over TLS, on a socket.

use std::net::SocketAddr;

use axum::serve::ListenerExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::world::{Outcome, small};
use crate::query::{TlsListener, server_config};

#[tokio::test]
async fn a_read_over_tls_is_answered_while_another_client_says_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, own.cert.pem())?;
    std::fs::write(&key, own.signing_key.serialize_pem())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = TlsListener::new(listener, server_config(&certificate, &key)?)?.tap_io(|_| ());
    let routes = small()?.routes().into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });

    let _silent = TcpStream::connect(address).await?;
    let trusted = reqwest::Certificate::from_pem(own.cert.pem().as_bytes())?;
    let client = reqwest::Client::builder()
        .add_root_certificate(trusted)
        .resolve("localhost", address)
        .build()?;
    let url = format!("https://localhost:{}/v1/bases/BTC", address.port());
    let answer = client.get(&url).send().await?;
    assert_eq!(answer.status().as_u16(), 200);
    let plain = client.get(url.replace("https", "http")).send().await;
    assert!(plain.is_err());
    serving.abort();
    Ok(())
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
