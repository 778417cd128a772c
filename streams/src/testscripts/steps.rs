//! A record of many steps: what is left of it stands in a store, and nothing overtakes it.

use crate::store::StoreHandle;
use crate::{Builder, Context, Driver, Error, Failure, Layout, Processor, SinkRecord, Topology};

/// Counts each record down to nothing, one a step.
struct CountDown {
    left: StoreHandle<u8>,
}

impl CountDown {
    fn step(&self, context: &mut Context<'_, u8>) -> Result<(), Failure> {
        let mut left = self.left.entry(b"left")?;
        let taken = left.take().filter(|left| *left > 0);
        *left = taken.map(|taken| taken - 1);
        drop(left);
        let Some(taken) = taken else {
            return Ok(());
        };
        context.again();
        context.forward(&taken)
    }
}

impl Processor for CountDown {
    type In = u8;
    type Out = u8;

    fn process(&mut self, context: &mut Context<'_, u8>, record: &u8) -> Result<(), Failure> {
        *self.left.entry(b"left")? = Some(*record);
        self.step(context)
    }

    fn resume(&mut self, context: &mut Context<'_, u8>) -> Result<(), Failure> {
        self.step(context)
    }
}

fn driver() -> Result<Driver, Error> {
    let mut driver = Driver::new(Topology::new(|builder: &mut Builder| {
        let encode = |left: &u8, out: &mut Vec<u8>| out.push(*left);
        let decode = |bytes: &[u8]| bytes.first().copied().ok_or_else(|| "empty".to_owned());
        let left = builder.store("left", Layout::new("left", encode, decode));
        let numbers = builder.source("numbers", |record| {
            record.value.and_then(|value| value.first().copied()).ok_or(Failure::Drop("empty"))
        });
        let steps = numbers.process(builder, |stores| CountDown { left: stores.get(&left) });
        steps.to(builder, "steps", |step| SinkRecord { key: vec![], value: Some(vec![*step]) });
    })?)?;
    for number in [3, 2] {
        driver.add("numbers", 0, b"", Some(&[number]))?;
    }
    Ok(driver)
}

fn steps(driver: &Driver) -> Vec<u8> {
    driver.output("steps").iter().filter_map(|output| output.value.clone()).flatten().collect()
}

#[test]
fn the_next_record_waits_until_the_last_is_done() -> Result<(), Error> {
    let mut driver = driver()?;
    driver.step()?;
    assert!(driver.tasks()[0].is_unfinished());
    driver.process_all()?;
    driver.commit()?;
    assert_eq!((steps(&driver), driver.tasks()[0].is_unfinished()), (vec![3, 2, 1, 2, 1], false));
    Ok(())
}

#[test]
fn a_crash_between_two_steps_repeats_none_and_loses_none() -> Result<(), Error> {
    let mut driver = driver()?;
    for _ in 0..12 {
        driver.step()?;
        driver.commit()?;
        driver.restart()?;
    }
    assert_eq!(steps(&driver), [3, 2, 1, 2, 1]);
    Ok(())
}

#[test]
fn a_step_that_is_discarded_is_done_again() -> Result<(), Error> {
    let mut driver = driver()?;
    for _ in 0..12 {
        driver.step()?;
        driver.commit()?;
        driver.step()?;
        driver.discard();
    }
    driver.process_all()?;
    driver.commit()?;
    assert_eq!(steps(&driver), [3, 2, 1, 2, 1]);
    Ok(())
}
