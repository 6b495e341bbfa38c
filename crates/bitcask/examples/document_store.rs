//! Documents: typed values in JSON, and an index over one of their fields, kept in the same transaction.
//!
//! `cargo run -p bitcask --features serde --example document_store`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example lives in the real world, and says what it does"
)]

use bitcask::{Bitcask, Index, Options, Typed};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Book {
    title: String,
    author: String,
    year: u16,
    /// Came later: books that were stored before have none.
    #[serde(default)]
    tags: Vec<String>,
}

/// Two collections of one store, which change together.
struct Library {
    db: Bitcask,
    books: Typed<u64, Book>,
    /// Author, year and number of each book; the key says it all.
    by_author: Typed<(String, u16, u64), ()>,
}

impl Library {
    fn new(db: Bitcask) -> Self {
        Self { books: db.typed("books"), by_author: db.typed("books by author"), db }
    }

    /// Stores a book and its entry in the index, instead of those that were there: all of it or nothing, also when
    /// others change the same book meanwhile.
    fn put(&self, id: u64, book: &Book) -> bitcask::Result<()> {
        self.db.transaction(|tx| {
            if let Some(old) = self.books.get_in(tx, &id)? {
                self.by_author.delete_in(tx, &(old.author, old.year, id))?;
            }
            self.books.put_in(tx, &id, book)?;
            self.by_author.put_in(tx, &(book.author.clone(), book.year, id), &())
        })
    }

    /// The books of an author, the oldest first.
    fn of_author(&self, author: &str) -> bitcask::Result<Vec<Book>> {
        let mut books = Vec::new();
        for entry in self.by_author.prefix(&(author.to_owned(),)) {
            let (_, _, id) = entry?.0;
            books.extend(self.books.get(&id)?);
        }
        Ok(books)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("bitcask-document-store-{}", std::process::id()));
    let library = Library::new(Options::new().index(Index::Ordered).open(&dir)?);
    let book = |title: &str, author: &str, year| {
        let (title, author) = (title.to_owned(), author.to_owned());
        Book { title, author, year, tags: Vec::new() }
    };
    library.put(1, &book("The Dispossessed", "Le Guin", 1974))?;
    library.put(2, &book("Solaris", "Lem", 1961))?;
    library.put(3, &book("A Wizard of Earthsea", "Le Guinn", 1968))?;

    let mut third = library.books.get(&3)?.expect("it was just stored");
    third.author = "Le Guin".to_owned();
    third.tags.push("fantasy".to_owned());
    library.put(3, &third)?;

    for book in library.of_author("Le Guin")? {
        println!("{} {} {:?}", book.year, book.title, book.tags);
    }
    assert!(library.of_author("Le Guinn")?.is_empty());

    // What is in the store is plain JSON.
    let raw = library.db.get(&library.books.raw_key(&2))?.expect("it was stored");
    println!("{}", str::from_utf8(&raw)?);

    // A change that touches no index needs no transaction.
    library.books.update(&2, |book| {
        let mut book = book?;
        book.tags.push("planet".to_owned());
        Some(book)
    })?;
    println!("{:?}", library.books.range(2..=2)?.next_back().expect("it is there")?);

    library.db.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
