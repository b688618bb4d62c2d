//! Connections of the pool, and when one goes back to it: only after its work has ended well.
//!
//! SQLite ends a transaction by itself when its disk is full or fails. sqlx's own transactions then ask it to roll back,
//! are refused, and go on counting one that is not there, so that every later `BEGIN` on that connection fails. A
//! PostgreSQL that was lost in the middle leaves no better one. So what failed, or was dropped half-way, is closed: the
//! pool opens another.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool};

use super::{Connection, Dialect};
use crate::{CatalogError, Result};

/// A connection that is closed when it is dropped, and not given back.
#[derive(Debug)]
pub(super) struct Borrowed {
    connection: PoolConnection<Any>,
    is_sound: bool,
}

impl Borrowed {
    pub(super) async fn of(pool: &AnyPool) -> Result<Self> {
        Ok(Self { connection: pool.acquire().await?, is_sound: false })
    }

    /// Its work is done.
    pub(super) fn give_back(mut self) {
        self.is_sound = true;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.is_sound {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Borrowed {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// A transaction, which is undone when it is dropped.
#[derive(Debug)]
pub(super) struct Transaction(Borrowed);

impl Transaction {
    /// One that only reads, all of it from one version, whoever commits meanwhile.
    pub(super) async fn reading(pool: &AnyPool, dialect: Dialect) -> Result<Self> {
        let begin = match dialect {
            Dialect::Sqlite => "BEGIN",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Self::begin(pool, begin).await
    }

    /// One that may write. SQLite's would else begin as a reader and find out late that another one writes.
    pub(super) async fn writing(pool: &AnyPool, dialect: Dialect) -> Result<Self> {
        let begin = match dialect {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        };
        Self::begin(pool, begin).await
    }

    async fn begin(pool: &AnyPool, statement: &'static str) -> Result<Self> {
        let mut borrowed = Borrowed::of(pool).await?;
        sqlx::query(statement).execute(&mut *borrowed).await?;
        Ok(Self(borrowed))
    }

    /// Ends it as done.
    pub(super) async fn commit(mut self) -> Result<()> {
        sqlx::query("COMMIT").execute(&mut *self.0).await?;
        self.0.give_back();
        Ok(())
    }

    /// Ends it as not done.
    pub(super) async fn roll_back(mut self) {
        if sqlx::query("ROLLBACK").execute(&mut *self.0).await.is_ok() {
            self.0.give_back();
        }
    }

    /// Ends it as not done, and gives `error` on. What others' work is the reason for leaves the connection sound.
    pub(super) async fn undo(self, error: CatalogError) -> CatalogError {
        if matches!(error, CatalogError::Conflict | CatalogError::Taken | CatalogError::NoSnapshot { .. }) {
            self.roll_back().await;
        }
        error
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}
