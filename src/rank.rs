//! How values are ranked by a field, for the command: as the fold `top` ranks them.

use std::cmp::Ordering;

use crate::error::Result;
use crate::fold::Order;
use crate::value::{FieldPath, Scalar};

/// A field, and which of its values come first.
#[derive(Clone, Debug)]
pub struct Rank {
    field: FieldPath,
    order: Order,
}

/// What a value is ranked by.
#[derive(Clone, Debug)]
pub struct Ranked(Option<Scalar>);

impl Rank {
    /// By this field, in this order.
    ///
    /// # Errors
    /// `is_invalid` if the field is no path of names joined by dots.
    pub fn by(field: &str, order: Order) -> Result<Rank> {
        Ok(Rank { field: FieldPath::parse(field)?, order })
    }

    /// What a value is ranked by.
    pub fn of(&self, json: &str, nonfinite: bool) -> Ranked {
        Ranked(self.field.find(json).and_then(|text| Scalar::of(text, nonfinite)))
    }

    /// Which of two comes first.
    pub fn compare(&self, a: &Ranked, b: &Ranked) -> Ordering {
        self.order.compare(a.0.as_ref(), b.0.as_ref())
    }
}
