//! One kind of output of an operator as a stream of its own: a repartition topic holds one kind.

use std::marker::PhantomData;

use streams::{Context, Failure, Processor};

/// Forwards the records that `pick` gives.
pub struct Route<In, Out> {
    pick: fn(&In) -> Option<&Out>,
    of: PhantomData<In>,
}

impl<In, Out> Route<In, Out> {
    /// The route of those.
    pub fn new(pick: fn(&In) -> Option<&Out>) -> Self {
        Self { pick, of: PhantomData }
    }
}

impl<In: 'static, Out: 'static> Processor for Route<In, Out> {
    type In = In;
    type Out = Out;

    fn process(&mut self, context: &mut Context<'_, Out>, record: &In) -> Result<(), Failure> {
        (self.pick)(record).map_or(Ok(()), |picked| context.forward(picked))
    }
}
