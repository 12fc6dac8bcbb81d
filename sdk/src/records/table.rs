//! Typed rows under one prefix of the plugin's records.

use std::{fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::Error,
    records::{self, BATCH_MAX, Entry},
};

/// Rows of one type, each under its own key, in [postcard](https://postcard.jamesmunns.com)
/// encoding.
///
/// The key of a record is the table's name, a zero byte, the row's key; so no table can reach into
/// another, also where one name begins with the other's.
///
/// ```
/// use mintmark_sdk::{Error, records::Table};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     file: String,
/// }
/// const ORDERS: Table<Order> = Table::new("orders");
///
/// fn remember(number: &str, file: String) -> Result<(), Error> {
///     ORDERS.put(number, &Order { file })
/// }
/// ```
pub struct Table<T> {
    name: &'static str,
    row: PhantomData<fn() -> T>,
}

impl<T> Table<T> {
    /// The table that is called `name`: 1 to 64 bytes, none of them zero. Otherwise it does not
    /// compile, in a constant.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(!name.is_empty() && name.len() <= 64, "a table's name has 1 to 64 bytes");
        let mut at = 0;
        while at < name.len() {
            assert!(name.as_bytes()[at] != 0, "a table's name has no zero byte");
            at += 1;
        }
        Self { name, row: PhantomData }
    }

    fn prefix(&self) -> Vec<u8> {
        self.key(&[])
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.name.as_bytes(), &[0], key].concat()
    }

    /// Removes the row, if it is there.
    ///
    /// # Errors
    /// As [`records::delete`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<(), Error> {
        records::delete(self.key(key.as_ref()))
    }

    /// Removes rows, in as few batches as the bounds allow.
    ///
    /// # Errors
    /// As [`records::delete_many`].
    pub fn delete_many(&self, keys: &[impl AsRef<[u8]>]) -> Result<(), Error> {
        for batch in keys.chunks(BATCH_MAX) {
            let keys: Vec<_> = batch.iter().map(|key| self.key(key.as_ref())).collect();
            records::delete_many(&keys)?;
        }
        Ok(())
    }

    /// Whether there is a row.
    ///
    /// # Errors
    /// As [`records::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(records::get(self.key(key.as_ref()))?.is_some())
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// The row, if it is there.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a record that is no `T`; otherwise as [`records::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        records::get(self.key(key.as_ref()))?.map(|value| decode(&value)).transpose()
    }

    /// The rows of `keys`, in their order, in as few batches as the bounds allow.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get_many(&self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<T>>, Error> {
        let mut rows = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH_MAX) {
            let keys: Vec<_> = batch.iter().map(|key| self.key(key.as_ref())).collect();
            for value in records::get_many(&keys)? {
                rows.push(value.map(|value| decode(&value)).transpose()?);
            }
        }
        Ok(rows)
    }

    /// Writes the row.
    ///
    /// # Errors
    /// As [`records::put`].
    pub fn put(&self, key: impl AsRef<[u8]>, row: &T) -> Result<(), Error> {
        records::put(self.key(key.as_ref()), encode(row)?)
    }

    /// Writes rows, in as few batches as the bounds allow; the last of two with one key wins.
    ///
    /// # Errors
    /// As [`records::put_many`].
    pub fn put_many<'a, K: AsRef<[u8]>>(
        &self,
        rows: impl IntoIterator<Item = (K, &'a T)>,
    ) -> Result<(), Error>
    where
        T: 'a,
    {
        let mut batch = Vec::new();
        for (key, row) in rows {
            batch.push(Entry::new(self.key(key.as_ref()), encode(row)?));
            if batch.len() == BATCH_MAX {
                records::put_many(&std::mem::take(&mut batch))?;
            }
        }
        if batch.is_empty() { Ok(()) } else { records::put_many(&batch) }
    }

    /// Rows whose key is greater than `after`, in order of keys. An empty answer says that there
    /// are no more; a short one does not.
    ///
    /// # Errors
    /// As [`Table::get`] and [`records::scan`].
    pub fn scan(&self, after: Option<&[u8]>, limit: u32) -> Result<Vec<(Vec<u8>, T)>, Error> {
        self.scan_prefix(&[], after, limit)
    }

    /// As [`Table::scan`], of rows whose key begins with `prefix`. `after` is a whole key.
    ///
    /// # Errors
    /// As [`Table::scan`].
    pub fn scan_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<(Vec<u8>, T)>, Error> {
        let table = self.prefix();
        let after = after.map(|key| self.key(key));
        records::scan(&self.key(prefix), after.as_deref(), limit)?
            .into_iter()
            .map(|entry| {
                let key = entry.key.strip_prefix(table.as_slice());
                let key = key.ok_or(Error::Malformed("the host's answer"))?;
                Ok((key.to_vec(), decode(&entry.value)?))
            })
            .collect()
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Table").field("name", &self.name).finish()
    }
}

fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(row).map_err(|_| Error::Malformed("a row that is to be stored"))
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(value) {
        Ok((row, [])) => Ok(row),
        _ => Err(Error::Malformed("a stored row")),
    }
}
