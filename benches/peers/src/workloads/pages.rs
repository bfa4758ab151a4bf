//! Rendered pages: `/ticker` of Wirewise, and the same HTML as a constant text of Express with `compression`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use memchr::memmem;

use super::{PAGES, Row};
use crate::{
    decode::{Body, Decoder, Item},
    http,
    peer::{Bench, Peer},
};

/// Connections that ask for one page after the other: enough to keep one core busy.
const CLIENTS: usize = 8;
const PATH: &str = "/ticker";
const TIMEOUT: Duration = Duration::from_secs(30);

/// Measures both servers, because Express gets the page of Wirewise.
pub fn measure(bench: &Bench, _peer: Peer) -> Result<Vec<Row>> {
    let server = bench.idle(Peer::Wirewise)?;
    let page = http::fetch(server.address(), "GET", PATH, &[("accept", "text/html")])?;
    let file = bench.options.work.join("ticker.html");
    fs::write(&file, &page).context("the page for Express")?;
    let mut ours = row(bench, Peer::Wirewise, server.address())?;
    ours.figures.insert("page_kib", page.len() as f64 / 1024.0);
    drop(server);
    let server = bench.express(&OsString::from(file))?;
    Ok(vec![ours, row(bench, Peer::Express, server.address())?])
}

fn row(bench: &Bench, peer: Peer, address: SocketAddr) -> Result<Row> {
    let mut figures = BTreeMap::new();
    for (encoding, rate, size) in [
        ("identity", "plain", "plain_kib"),
        ("br", "brotli", "brotli_kib"),
    ] {
        // The first pages warm the server up.
        pages(address, encoding, bench.options.scale().warm_up)?;
        let (pages, bytes, seconds) = pages(address, encoding, bench.options.scale().pages)?;
        figures.insert(rate, pages as f64 / seconds);
        figures.insert(size, bytes as f64 / pages as f64 / 1024.0);
    }
    Ok(Row {
        workload: PAGES,
        peer,
        figures,
    })
}

/// Asks for pages for a while. Returns their number, their bytes and the seconds.
fn pages(address: SocketAddr, encoding: &str, span: Duration) -> Result<(u64, u64, f64)> {
    let begin = Instant::now();
    let counts = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client(address, encoding, begin + span)))
            .collect();
        let ended = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
        ended.collect::<Result<Vec<_>>>()
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let pages = counts.iter().map(|(pages, _)| pages).sum();
    let bytes = counts.iter().map(|(_, bytes)| bytes).sum();
    Ok((pages, bytes, seconds))
}

fn client(address: SocketAddr, encoding: &str, end: Instant) -> Result<(u64, u64)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    let headers = [("accept", "text/html"), ("accept-encoding", encoding)];
    let request = http::request("GET", PATH, &headers);
    let mut decoder = Decoder::new(Body::Page, true);
    let mut buffer = vec![0; 64 * 1024];
    let (mut pages, mut bytes) = (0, 0);
    while Instant::now() < end {
        stream.write_all(&request)?;
        let asked = pages;
        while pages == asked {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                bail!("the server closed the connection");
            }
            decoder.decode(&buffer[..length], &mut |item| {
                match item {
                    Item::Head(head) => expect_encoding(head, encoding)?,
                    Item::Text(page) => {
                        if encoding == "identity" && memmem::find(page, b"</html>").is_none() {
                            bail!("a page is not complete");
                        }
                        pages += 1;
                        bytes += page.len() as u64;
                    }
                    _ => {}
                }
                Ok(())
            })?;
        }
    }
    Ok((pages, bytes))
}

fn expect_encoding(head: &[u8], encoding: &str) -> Result<()> {
    http::expect_success(head)?;
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if encoding == "br" && !head.contains("content-encoding: br") {
        bail!("a page is not compressed with brotli:\n{head}");
    }
    Ok(())
}
