//! From async code: gets where they are needed, puts through one thread that writes what has queued up as one batch, and
//! long calls where blocking calls go.
//!
//! `cargo run -p bitcask --example async_server`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example lives in the real world, and says what it does"
)]

use std::error::Error;
use std::thread::{self, JoinHandle};

use bitcask::{Bitcask, Durability, Options, WriteBatch};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};

/// Puts that wait to be written, at most: more make clients wait.
const QUEUED_MAX: usize = 1024;

/// A put, and whom to tell when it is durable.
struct Put {
    key: String,
    value: String,
    done: oneshot::Sender<Result<(), String>>,
}

/// What every connection has.
#[derive(Clone)]
struct Store {
    db: Bitcask,
    puts: mpsc::Sender<Put>,
}

impl Store {
    /// Also gives the writer's thread, which ends with the last clone of the store.
    fn new(db: Bitcask) -> (Self, JoinHandle<()>) {
        let (puts, queue) = mpsc::channel(QUEUED_MAX);
        let writer = thread::spawn({
            let db = db.clone();
            move || write_all(&db, queue)
        });
        (Self { db, puts }, writer)
    }

    /// A copy from memory, or one read of the disk: no longer than a lock is held elsewhere. If the store is much larger
    /// than memory, and a slow read must not hold up others, this goes into `spawn_blocking`, too.
    fn get(&self, key: &str) -> bitcask::Result<Option<String>> {
        let value = self.db.get(key.as_bytes())?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Returns when the put is durable; the task waits meanwhile, no thread does.
    async fn put(&self, key: String, value: String) -> Result<(), String> {
        let (done, is_done) = oneshot::channel();
        self.puts.send(Put { key, value, done }).await.map_err(|e| e.to_string())?;
        is_done.await.map_err(|e| e.to_string())?
    }

    /// Goes through everything: not for a thread that serves others.
    async fn count(&self, prefix: String) -> Result<usize, Box<dyn Error + Send + Sync>> {
        let db = self.db.clone();
        let count = move || {
            db.prefix(prefix.as_bytes()).try_fold(0, |count, entry| entry.map(|_| count + 1))
        };
        Ok(tokio::task::spawn_blocking(count).await??)
    }
}

/// The writer: all that has queued up is one batch, with one sync.
fn write_all(db: &Bitcask, mut queue: mpsc::Receiver<Put>) {
    let (mut puts, mut writes) = (0, 0);
    let mut queued = Vec::new();
    while queue.blocking_recv_many(&mut queued, QUEUED_MAX) > 0 {
        let mut batch = WriteBatch::new();
        for put in &queued {
            batch.put(put.key.as_str(), put.value.as_str());
        }
        let result = db.write(&batch).map_err(|e| e.to_string());
        (puts, writes) = (puts + queued.len(), writes + 1);
        for put in queued.drain(..) {
            // Ignored: a client that hung up needs no answer.
            drop(put.done.send(result.clone()));
        }
    }
    println!("{puts} puts in {writes} batches");
}

/// One client: `put KEY VALUE`, `get KEY` and `count PREFIX`, a line each. The stream may as well be a `TcpStream`.
async fn serve(
    store: Store,
    stream: impl AsyncRead + AsyncWrite,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        let answer = match words[..] {
            ["put", key, value] => {
                let result = store.put(key.to_owned(), value.to_owned()).await;
                result.map_or_else(|e| format!("error: {e}"), |()| "ok".to_owned())
            }
            ["get", key] => store.get(key)?.unwrap_or_else(|| "(none)".to_owned()),
            ["count", prefix] => store.count(prefix.to_owned()).await?.to_string(),
            _ => "error: put KEY VALUE, get KEY or count PREFIX".to_owned(),
        };
        write.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Asks some things, and gives the answers.
async fn ask(store: &Store, questions: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let (mut client, server) = tokio::io::duplex(4096);
    let served = tokio::spawn(serve(store.clone(), server));
    client.write_all(questions.as_bytes()).await?;
    client.shutdown().await?;
    let mut answers = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client, &mut answers).await?;
    served.await??;
    Ok(answers)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let dir = std::env::temp_dir().join(format!("bitcask-async-server-{}", std::process::id()));
    // Before there is a runtime; within one, `spawn_blocking`.
    let db = Options::new().durability(Durability::Always).open(&dir)?;
    let (store, writer) = Store::new(db.clone());

    tokio::runtime::Runtime::new()?.block_on(async {
        let clients = (0..200).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { ask(&store, &format!("put user/{n} name{n}\n")).await })
        });
        for client in clients.collect::<Vec<_>>() {
            assert_eq!(client.await??, "ok\n");
        }
        let answers = ask(&store, "get user/7\nget user/999\ncount user/\nnonsense\n").await?;
        print!("{answers}");
        assert!(answers.starts_with("name7\n(none)\n200\n"));
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    })?;

    drop(store);
    writer.join().expect("the writer does not panic");
    db.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
