//! The real servers' web server, and the bytes it serves.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime, sync::oneshot};

use super::{
    error::{Error, Result},
    netns::Netns,
};

/// The size of one piece of a long answer.
const PIECE: usize = 64 << 10;
/// The path under which the server sends as many bytes as asked for.
const BYTES_PATH: &str = "/bytes/";

/// A web server in a thread of its own, inside a host. Dropped, it stops.
///
/// `GET /` answers the server's name on a line of its own; `GET /bytes/N` answers N bytes of [`fill_pattern`]. The header
/// `x-client` of each answer tells which address the server saw: with NAT, the client's own.
#[derive(Debug)]
pub struct HttpServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Starts one; it listens when this returns.
    pub fn start(netns: &Netns, address: SocketAddr, name: &str) -> Result<Self> {
        let failed = || Error::io::<std::io::Error>(format!("cannot serve HTTP on {address} in {}", netns.name()));
        let (runtime, listener) = netns
            .run(|| {
                let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
                // The socket keeps to the namespace it is made in, whichever thread uses it.
                let listener = runtime.block_on(TcpListener::bind(address))?;
                Ok((runtime, listener))
            })?
            .map_err(failed())?;
        let (stop, stopped) = oneshot::channel();
        let server_name = name.to_owned();
        let thread = thread::Builder::new()
            .name(format!("http {name}"))
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, &server_name) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(failed())?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // Dropping the sender is the message.
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

/// Fills `buffer` with what a `/bytes/N` answer holds from `offset` on.
///
/// Every eight bytes are a hash of their position, so a piece that is lost, doubled, moved or altered shows.
pub fn fill_pattern(offset: u64, buffer: &mut [u8]) {
    let mut word_index = offset / 8;
    let mut skip = (offset % 8) as usize;
    let mut rest = buffer;
    while !rest.is_empty() {
        let word = mix(word_index).to_le_bytes();
        let count = rest.len().min(8 - skip);
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(&word[skip..skip + count]);
        (rest, skip, word_index) = (later, 0, word_index + 1);
    }
}

/// The finalizer of splitmix64 (Steele, Lea and Flood, 2014).
fn mix(index: u64) -> u64 {
    let mut word = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

async fn serve(listener: TcpListener, name: &str) {
    loop {
        // Accepting fails for reasons of single connections, or for lack of descriptors, which the next ones may find again.
        let Ok((stream, client)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let name = name.to_owned();
        let service = service_fn(move |request| {
            let answer = answer(&request, &name, client);
            async { Ok::<_, Infallible>(answer) }
        });
        // A connection that breaks concerns its client alone.
        tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

fn answer(request: &Request<Incoming>, name: &str, client: SocketAddr) -> Response<Page> {
    let path = request.uri().path();
    let (status, page) = if request.method() != Method::GET && request.method() != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, Page::text("only GET and HEAD\n"))
    } else if path == "/" {
        (StatusCode::OK, Page::text(&format!("{name}\n")))
    } else if let Some(count) = path.strip_prefix(BYTES_PATH) {
        match count.parse() {
            Ok(end) => (StatusCode::OK, Page::Pattern { at: 0, end }),
            Err(_) => (StatusCode::BAD_REQUEST, Page::text("how many bytes?\n")),
        }
    } else {
        (StatusCode::NOT_FOUND, Page::text("nothing here; try / or /bytes/1000\n"))
    };
    let mut response = Response::new(page);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (key, value) in
        [(header::SERVER, name.to_owned()), (header::HeaderName::from_static("x-client"), client.to_string())]
    {
        if let Ok(value) = value.parse() {
            headers.insert(key, value);
        }
    }
    response
}

/// The body of an answer.
enum Page {
    Text(Option<Bytes>),
    Pattern { at: u64, end: u64 },
}

impl Page {
    fn text(text: &str) -> Self {
        Self::Text(Some(Bytes::copy_from_slice(text.as_bytes())))
    }
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Self::Text(text) => text.take(),
            Self::Pattern { at, end } if *at < *end => {
                let count = (*end - *at).min(PIECE as u64);
                let mut piece = vec![0; count as usize];
                fill_pattern(*at, &mut piece);
                *at += count;
                Some(piece.into())
            }
            Self::Pattern { .. } => None,
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(text) => text.as_ref().map_or(0, |text| text.len() as u64),
            Self::Pattern { at, end } => end - at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_the_same_however_it_is_cut() {
        let mut whole = [0; 100];
        fill_pattern(3, &mut whole);
        for cut in 0..=whole.len() {
            let mut parts = [0; 100];
            let (first, second) = parts.split_at_mut(cut);
            fill_pattern(3, first);
            fill_pattern(3 + cut as u64, second);
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }

    #[test]
    fn no_piece_of_the_pattern_resembles_another() {
        let mut words = vec![0; 8 << 14];
        fill_pattern(0, &mut words);
        let mut words: Vec<_> = words.chunks_exact(8).collect();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), 1 << 14);
    }
}
