//! The client: requests one after the other, and downloads compared byte by byte.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime};

use super::{
    error::{Error, Result},
    http::fill_pattern,
    netns::Netns,
    stop::Stop,
};

/// After so many failures in a row the rest would fail too, each after its whole time-out.
const FAILURES_IN_A_ROW_MAX: usize = 3;

/// One answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body, without its line end: the name of the server that answered.
    pub server: String,
    /// From the first SYN to the last byte.
    pub latency: Duration,
}

/// Why a request got no answer, or a wrong one.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No whole answer came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// No connection came about.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection broke, or what came was not HTTP.
    #[error("broken answer: {0}")]
    Broken(#[from] hyper::Error),
    /// The server answered something else than 200.
    #[error("status {0}")]
    Status(StatusCode),
    /// A download differs from what the server sends.
    #[error("byte {offset} is not what was sent")]
    Differs {
        /// The first byte that does.
        offset: u64,
    },
    /// A download ended early or late.
    #[error("{got} bytes instead of {wanted}")]
    Length {
        /// What came.
        got: u64,
        /// What was asked for.
        wanted: u64,
    },
}

/// What was asked of the server, one entry per request made.
pub type Exchanges = Vec<Result<Answer, RequestError>>;

/// Makes `count` requests for `/` from `netns`, one after the other, each over a connection of its own.
///
/// `on_each` sees each as it ends. Gives up after a few failures in a row; [`Error::Stopped`] when `stop` is raised.
pub fn requests(
    netns: &Netns,
    server: SocketAddr,
    count: usize,
    time_max: Duration,
    stop: &Stop,
    on_each: impl FnMut(&Result<Answer, RequestError>) + Send,
) -> Result<Exchanges> {
    in_runtime(netns, async || {
        let mut on_each = on_each;
        let mut exchanges = Exchanges::new();
        let mut failures_in_a_row = 0;
        while exchanges.len() < count && failures_in_a_row < FAILURES_IN_A_ROW_MAX {
            let exchange = tokio::select! {
                exchange = request(server, time_max) => exchange,
                signal = stop.raised() => return Err(Error::Stopped(signal)),
            };
            failures_in_a_row = if exchange.is_ok() { 0 } else { failures_in_a_row + 1 };
            on_each(&exchange);
            exchanges.push(exchange);
        }
        Ok(exchanges)
    })?
}

/// Downloads `/bytes/COUNT` from `netns` and compares every byte with what the server sends. Returns how long it took.
pub fn download(
    netns: &Netns,
    server: SocketAddr,
    count: u64,
    time_max: Duration,
) -> Result<Result<Duration, RequestError>> {
    in_runtime(netns, async || timed(time_max, compare(server, count)).await.map(|((), time)| time))
}

async fn request(server: SocketAddr, time_max: Duration) -> Result<Answer, RequestError> {
    let fetched = timed(time_max, async { Ok(get(server, "/").await?.into_body().collect().await?.to_bytes()) }).await;
    fetched.map(|(body, latency)| Answer { server: String::from_utf8_lossy(&body).trim_end().into(), latency })
}

async fn compare(server: SocketAddr, wanted: u64) -> Result<(), RequestError> {
    let mut body = get(server, &format!("/bytes/{wanted}")).await?.into_body();
    let mut expected = Vec::new();
    let mut got = 0;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else {
            continue;
        };
        expected.resize(piece.len(), 0);
        fill_pattern(got, &mut expected);
        if let Some(at) = piece.iter().zip(&expected).position(|(is, should)| is != should) {
            return Err(RequestError::Differs { offset: got + at as u64 });
        }
        got += piece.len() as u64;
    }
    if got == wanted { Ok(()) } else { Err(RequestError::Length { got, wanted }) }
}

async fn get(server: SocketAddr, path: &str) -> Result<Response<Incoming>, RequestError> {
    let stream = TcpStream::connect(server).await.map_err(RequestError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the body has been read and the sender is gone; what breaks it breaks the body too.
    tokio::spawn(async { drop(connection.await) });
    let mut request = Request::new(Empty::<Bytes>::new());
    if let (Ok(uri), Ok(host)) = (path.parse(), server.to_string().parse()) {
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::HOST, host);
    }
    let response = sender.send_request(request).await?;
    if response.status() == StatusCode::OK { Ok(response) } else { Err(RequestError::Status(response.status())) }
}

async fn timed<T>(
    time_max: Duration,
    task: impl Future<Output = Result<T, RequestError>>,
) -> Result<(T, Duration), RequestError> {
    let start = Instant::now();
    match tokio::time::timeout(time_max, task).await {
        Ok(result) => result.map(|value| (value, start.elapsed())),
        Err(_) => Err(RequestError::TimedOut(time_max)),
    }
}

fn in_runtime<T: Send>(netns: &Netns, task: impl AsyncFnOnce() -> T + Send) -> Result<T> {
    netns.run(|| {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io(format!("cannot start a client in {}", netns.name())))?;
        Ok(runtime.block_on(task()))
    })?
}
