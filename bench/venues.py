#!/usr/bin/env python3
"""Simulated venues, and a producer with Kafka behind. `make venues`.

Deribit under load: every instrument sends its ticker each 100 ms and the market trades beside. Measured are
what the producer takes in and Kafka acknowledges, what that costs the producer's process, and how long a message
takes from the socket to Kafka's acknowledgement.

All options of Deribit as a user follows them, by `agg2`, with a member behind: the cost of a ticker at the producer
and at the processor, and the time from the socket to `options` (`bench-visible`).

Swaps of a chain, with a member behind: the cost of a swap at both, and the time through one commit and through two
(`bench-hops`).

Order books of Coinbase and Binance, with a member behind: the cost of a book frame at the producer and of a
quote at the processor, and the time from the socket to the commit of `top_of_book`. The same feed runs without
books first: the difference is what the books cost with sockets and Kafka. `bench-books` gives the shares of one
frame of the same feed without them: parsing, and all that is beyond parsing.
"""
import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import figures
import report
import stack

LATENCY = "producer_publish_latency_seconds"
VISIBLE = "processor_end_to_end_latency_seconds"
# For each venue of the books: how many of its products, how often it shows a book in a second, and where it lists them.
BOOKS = {
    "coinbase": (50, 20, "/products", lambda listed: [one["id"] for one in listed]),
    "binance": (20, 10, "/api/v3/exchangeInfo", lambda listed: [one["symbol"] for one in listed["symbols"]]),
}
# Trades for each time that a book is shown: with two, 86 % of the times something has changed.
TRADES_A_FRAME = 2
# Seconds of frames that `bench-books` reads.
CAPTURE_S = 10
# Schemas, the listing, four connections, and the subscriptions of each.
WARM_UP_S = 10


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def scrape(port):
    """The producer's metrics by name with labels; nothing while it does not serve."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def total(metrics, name, label=""):
    return sum(value for series, value in metrics.items() if series.split("{")[0] == name and label in series)


def quantile(before, after, share, name=LATENCY):
    """Seconds below which this share of the latencies lies, straight between two bounds of a histogram."""
    bounds = {}
    for series, value in after.items():
        if series.startswith(name + "_bucket"):
            bound = float(series.split('le="')[1].split('"')[0])
            bounds[bound] = bounds.get(bound, 0) + value - before.get(series, 0)
    wanted, low, below = share * bounds[float("inf")], 0.0, 0.0
    for bound, count in sorted(bounds.items()):
        if count >= wanted:
            return low if bound == float("inf") or count == below else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count


def start(arguments, log, program="producer"):
    return subprocess.Popen([os.path.join(stack.BIN, program), *arguments], env=stack.addresses(), stdout=subprocess.DEVNULL, stderr=log)


def measured(prefix, options, log):
    port, metrics_port = free_port(), free_port()
    simulator = start(["simulate", "--venue", "deribit", "--listen", f"127.0.0.1:{port}", "--rate", str(options.rate),
                       "--tickers-every", f"{options.every_ms}ms"], log)
    producer = None
    try:
        time.sleep(1)
        producer = start(["run", "--venue", "deribit", "--currency", "BTC,ETH", "--url", f"ws://127.0.0.1:{port}",
                          "--metrics", f"127.0.0.1:{metrics_port}", "--topic-prefix", prefix, "--interval", "100ms"], log)
        stack.wait_until("tickers", lambda: total(scrape(metrics_port), "producer_events_published_total") > 10_000, 0.2, producer)
        time.sleep(WARM_UP_S)
        before, cpu, began = scrape(metrics_port), figures.cpu_s(producer.pid), time.monotonic()
        simulator_cpu, broker_cpu = figures.cpu_s(simulator.pid), stack.broker_cpu_s()
        time.sleep(options.seconds)
        after, seconds = scrape(metrics_port), time.monotonic() - began
        cpu = figures.cpu_s(producer.pid) - cpu
        grown = lambda name, label="": total(after, name, label) - total(before, name, label)
        received = grown("producer_events_received_total")
        return {
            "instruments": int(total(after, "producer_instruments")), "connections": int(total(after, "producer_connections")),
            "seconds": seconds, "messages_per_s": received / seconds, "published_per_s": grown("producer_events_published_total") / seconds,
            "events_per_s": grown("producer_events_parsed_total") / seconds, "cpu_us_per_message": cpu * 1e6 / received, "cores": cpu / seconds,
            "simulator_cores": (figures.cpu_s(simulator.pid) - simulator_cpu) / seconds, "broker_cores": (stack.broker_cpu_s() - broker_cpu) / seconds,
            **{f"p{share}_ms": quantile(before, after, share / 100) * 1000 for share in (50, 99)},
            "reconnects": int(grown("producer_reconnects_total")), "gaps": int(grown("producer_sequence_gaps_total")),
            "dead_letters": int(grown("producer_dead_letters_total")), "waiting": int(total(after, "producer_queue_messages")),
        }
    finally:
        for process in (producer, simulator):
            if process and process.poll() is None:
                process.terminate()
                process.wait(60)


def measured_options(prefix, options, log):
    state = os.path.join(stack.RESULTS, f"{prefix}options-state")
    port, metrics_port, member_port = free_port(), free_port(), free_port()
    processes = []
    try:
        processes.append(start(["simulate", "--venue", "deribit", "--listen", f"127.0.0.1:{port}", "--options", "1500", "--rate", "50"], log))
        time.sleep(1)
        member = start(["run", "--topologies", "options", "--topic-prefix", prefix, "--application-id", prefix + "options", "--state-dir", state,
                        "--listen", f"127.0.0.1:{member_port}"], log, "processor")
        producer = start(["run", "--venue", "deribit", "--currency", "BTC,ETH", "--channels", "ticker", "--url", f"ws://127.0.0.1:{port}",
                          "--metrics", f"127.0.0.1:{metrics_port}", "--topic-prefix", prefix], log)
        processes += [member, producer]
        records = lambda: total(scrape(member_port), "processor_records_processed_total")
        stack.wait_until("tickers", lambda: records() > 3_000, 0.2, producer)
        time.sleep(WARM_UP_S)
        before, processed, began = scrape(metrics_port), scrape(member_port), time.monotonic()
        cpu = [figures.cpu_s(process.pid) for process in (producer, member)]
        seen = json.loads(stack.program("bench-visible", "--topic-prefix", prefix, "--seconds", options.seconds))
        after, seconds = scrape(metrics_port), time.monotonic() - began
        came = scrape(member_port)
        cpu = [figures.cpu_s(process.pid) - used for process, used in zip((producer, member), cpu)]
        grown = lambda name, label="": total(after, name, label) - total(before, name, label)
        tickers, of_options = grown("producer_tickers_read_total"), grown("producer_tickers_read_total", 'class="option"')
        records = total(came, "processor_records_processed_total") - total(processed, "processor_records_processed_total")
        return {
            "instruments": int(total(after, "producer_instruments")), "connections": int(total(after, "producer_connections")), "seconds": seconds,
            "tickers_per_s": tickers / seconds, "option_tickers_per_s": of_options / seconds, "records_per_s": records / seconds,
            "cpu_us_per_ticker": cpu[0] * 1e6 / tickers, "cpu_us_per_record": cpu[1] * 1e6 / records, "visible_per_s": seen["samples"] / seconds,
            **{f"to_kafka_p{share}_ms": quantile(before, after, share / 100) * 1000 for share in (50, 99)},
            "p50_ms": seen["p50_ms"], "p99_ms": seen["p99_ms"], "fields_null": int(total(after, "producer_ticker_fields_null_total")),
            "reconnects": int(grown("producer_reconnects_total")), "dead_letters": int(total(after, "producer_dead_letters_total")),
        }
    finally:
        ended(reversed(processes))
        shutil.rmtree(state, ignore_errors=True)


def listed_pools(port, file):
    """Writes the listing of the simulated pools, one on a line; false while the simulator does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/pools", timeout=10) as body:
            pools = json.load(body)
    except OSError:
        return False
    with open(file, "w") as out:
        out.writelines(json.dumps(pool) + "\n" for pool in pools)
    return bool(pools)


def measured_swaps(prefix, options, log):
    """Swaps of a simulated chain, with a member behind; latencies of one hop and of two, of the same swaps."""
    state, listing = (os.path.join(stack.RESULTS, f"{prefix}swaps-{part}") for part in ("state", "pools.jsonl"))
    port, metrics_port, member_port = free_port(), free_port(), free_port()
    processes = []
    try:
        processes.append(start(["simulate", "--venue", "ethereum", "--listen", f"127.0.0.1:{port}", "--rate", str(options.swaps)], log))
        stack.wait_until("pools", lambda: listed_pools(port, listing), 0.2, processes[0])
        member = start(["run", "--topologies", "swaps", "--topic-prefix", prefix, "--application-id", prefix + "swaps", "--state-dir", state,
                        "--confirmations", "0", "--listen", f"127.0.0.1:{member_port}"], log, "processor")
        producer = start(["run", "--venue", "ethereum", "--chain-id", "1", "--pools", listing, "--url", f"ws://127.0.0.1:{port}",
                          "--metrics", f"127.0.0.1:{metrics_port}", "--topic-prefix", prefix], log)
        processes += [member, producer]
        swaps = lambda metrics: total(metrics, "producer_swaps_read_total")
        stack.wait_until("swaps", lambda: swaps(scrape(metrics_port)) > 3_000, 0.2, producer)
        time.sleep(WARM_UP_S)
        before, processed, began = scrape(metrics_port), scrape(member_port), time.monotonic()
        cpu = [figures.cpu_s(process.pid) for process in (producer, member)]
        seen = json.loads(stack.program("bench-hops", "--topic-prefix", prefix, "--seconds", options.seconds))
        after, came, seconds = scrape(metrics_port), scrape(member_port), time.monotonic() - began
        cpu = [figures.cpu_s(process.pid) - used for process, used in zip((producer, member), cpu)]
        read = swaps(after) - swaps(before)
        return {
            "swaps_per_s": read / seconds, "seconds": seconds, "producer_cpu_us_per_swap": cpu[0] * 1e6 / read, "processor_cpu_us_per_swap": cpu[1] * 1e6 / read,
            "to_kafka_p99_ms": quantile(before, after, 0.99) * 1000, "commit_p99_ms": quantile(processed, came, 0.99, VISIBLE) * 1000, **seen,
            "reconnects": int(total(after, "producer_reconnects_total")), "dead_letters": int(total(after, "producer_dead_letters_total")),
        }
    finally:
        ended(reversed(processes))
        shutil.rmtree(state, ignore_errors=True)
        if os.path.exists(listing):
            os.remove(listing)


def print_swaps(row):
    one, two = row["one_hop"], row["two_hops"]
    print("\n| swaps/s | producer, CPU-us/swap | processor, CPU-us/swap | socket to Kafka p99, ms | one hop p50, ms | p99, ms | two hops p50, ms | p99, ms "
          "| p99 to p99 | swaps seen | reconnects | dead letters |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
    print(f"| {row['swaps_per_s']:,.0f} | {row['producer_cpu_us_per_swap']:.1f} | {row['processor_cpu_us_per_swap']:.1f} | {row['to_kafka_p99_ms']:.1f} "
          f"| {one['p50_ms']} | {one['p99_ms']} | {two['p50_ms']} | {two['p99_ms']} | {two['p99_ms'] / one['p99_ms']:.2f} | {one['samples']:,} "
          f"| {row['reconnects']} | {row['dead_letters']} |")


def print_options(row):
    print("\n| instruments | connections | tickers/s | of options/s | producer, CPU-us/ticker | processor, CPU-us/record | socket to Kafka p50, ms | p99, ms "
          "| socket to options p50, ms | p99, ms | reconnects | dead letters |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
    print(f"| {row['instruments']:,} | {row['connections']} | {row['tickers_per_s']:,.0f} | {row['option_tickers_per_s']:,.0f} "
          f"| {row['cpu_us_per_ticker']:.1f} | {row['cpu_us_per_record']:.1f} | {row['to_kafka_p50_ms']:.1f} | {row['to_kafka_p99_ms']:.1f} "
          f"| {row['p50_ms']} | {row['p99_ms']} | {row['reconnects']} | {row['dead_letters']} |")


def ended(processes):
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def listed(venue, count, log):
    """The names of the first simulated products of a venue."""
    _, _, path, names = BOOKS[venue]
    port = free_port()
    simulator = start(["simulate", "--venue", venue, "--listen", f"127.0.0.1:{port}"], log)
    answer = []

    def is_listed():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as body:
                answer.extend(names(json.load(body))[:count])
        except OSError:
            return False
        return True

    try:
        stack.wait_until("a listing", is_listed, 0.2, simulator)
    finally:
        ended([simulator])
    return ",".join(answer)


def followed(venue, market, channels, prefix, log, more=()):
    """A simulator with these flags and a producer of these channels: the processes, and the port of the producer's metrics."""
    port, metrics_port = free_port(), free_port()
    simulator = start(["simulate", "--venue", venue, "--listen", f"127.0.0.1:{port}", *market], log)
    time.sleep(1)
    products = market[market.index("--products") + 1]
    producer = start(["run", "--venue", venue, "--products", products, "--channels", channels, "--url", f"ws://127.0.0.1:{port}",
                      "--metrics", f"127.0.0.1:{metrics_port}", "--topic-prefix", prefix, "--backfill", "false", *more], log)
    return [simulator, producer], metrics_port


def without_books(venue, market, prefix, options, log):
    """CPU-us a second of the producer that follows the same feed without books."""
    processes, port = followed(venue, market, "ticker", prefix, log)
    producer = processes[1]
    try:
        stack.wait_until("tickers", lambda: total(scrape(port), "producer_events_published_total") > 1_000, 0.2, producer)
        time.sleep(WARM_UP_S)
        cpu, began = figures.cpu_s(producer.pid), time.monotonic()
        time.sleep(options.seconds)
        return (figures.cpu_s(producer.pid) - cpu) * 1e6 / (time.monotonic() - began)
    finally:
        ended(reversed(processes))


def shares(venue, market, prefix, log):
    """What `bench-books` says of a capture of the books."""
    folder = os.path.join(stack.RESULTS, f"{prefix}{venue}")
    processes, port = followed(venue, market, "book", prefix, log, ["--capture", folder])
    try:
        stack.wait_until("quotes", lambda: total(scrape(port), "producer_quotes_published_total") > 1_000, 0.2, processes[1])
        time.sleep(CAPTURE_S)
        ended(reversed(processes))
        files = sorted(os.path.join(folder, name) for name in os.listdir(folder))
        return json.loads(stack.program("bench-books", *files))
    finally:
        ended(reversed(processes))
        shutil.rmtree(folder, ignore_errors=True)


def measured_books(venue, prefix, options, log):
    count, shown, _, _ = BOOKS[venue]
    shown = options.frames or shown
    products, state = listed(venue, options.products or count, log), os.path.join(stack.RESULTS, f"{prefix}state")
    rate = TRADES_A_FRAME * shown * (products.count(",") + 1)
    market = ["--products", products, "--rate", str(rate), "--book-interval", f"{1000 / shown:.0f}ms"]
    base = without_books(venue, market, prefix, options, log)
    share = shares(venue, market, prefix, log)
    member_port = free_port()
    member = start(["run", "--topologies", "quotes", "--topic-prefix", prefix, "--application-id", prefix + "quotes", "--state-dir", state,
                    "--listen", f"127.0.0.1:{member_port}"], log, "processor")
    processes = [member]
    try:
        both, metrics_port = followed(venue, market, "ticker,book", prefix, log)
        processes += both
        producer = both[1]
        quotes = lambda: total(scrape(member_port), "processor_records_processed_total")
        stack.wait_until("quotes", lambda: quotes() > 1_000, 0.2, producer)
        time.sleep(WARM_UP_S)
        before, processed, began = scrape(metrics_port), scrape(member_port), time.monotonic()
        cpu = [figures.cpu_s(process.pid) for process in (producer, member)]
        time.sleep(options.seconds)
        after, seconds = scrape(metrics_port), time.monotonic() - began
        came = scrape(member_port)
        cpu = [figures.cpu_s(process.pid) - used for process, used in zip((producer, member), cpu)]
        grown = lambda name, label="": total(after, name, label) - total(before, name, label)
        frames = grown("producer_book_frames_total")
        records = total(came, "processor_records_processed_total") - total(processed, "processor_records_processed_total")
        return {
            "venue": venue, "books": int(total(after, "producer_books")), "seconds": seconds, "frames_per_s": frames / seconds,
            "records_per_s": records / seconds, "cpu_us_per_frame": (cpu[0] * 1e6 - base * seconds) / frames, "cpu_us_per_record": cpu[1] * 1e6 / records,
            "parse_us": share["parse_us"], "beyond_parsing_us": share["beyond_parsing_us"],
            **{f"p{share}_ms": quantile(processed, came, share / 100, VISIBLE) * 1000 for share in (50, 99)},
            "resyncs": int(grown("producer_book_resyncs_total")), "dead_letters": int(grown("producer_dead_letters_total")),
        }
    finally:
        ended(reversed(processes))
        shutil.rmtree(state, ignore_errors=True)


def print_books(rows):
    print("\n| venue | books | frames/s | records/s of quotes | producer, CPU-us/frame | of it parsing | book, proof, quotes, encoding | processor, CPU-us/record "
          "| socket to top_of_book p50, ms | p99, ms | resyncs | dead letters |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['venue']} | {row['books']} | {row['frames_per_s']:,.0f} | {row['records_per_s']:,.0f} | {row['cpu_us_per_frame']:.1f} "
              f"| {row['parse_us']:.1f} | {row['beyond_parsing_us']:.1f} "
              f"| {row['cpu_us_per_record']:.1f} | {row['p50_ms']:.0f} | {row['p99_ms']:.0f} | {row['resyncs']} | {row['dead_letters']} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=500, help="trades a second over all instruments")
    parser.add_argument("--every-ms", type=int, default=100, help="between two tickers of an instrument")
    parser.add_argument("--only", choices=["load", "options", "books", "swaps"])
    parser.add_argument("--swaps", type=int, default=1_000, help="swaps a second of the simulated chain")
    parser.add_argument("--products", type=int, help="order books of a venue; default: 50 of Coinbase, 20 of Binance")
    parser.add_argument("--frames", type=int, help="times a second that a book is shown, at most 100; default: the venue's, 20 and 10")
    options = parser.parse_args()
    prefix = stack.name("venues")
    os.makedirs(stack.RESULTS, exist_ok=True)
    try:
        stack.create_topics(prefix, group=prefix + "swaps")
        with open(os.path.join(stack.RESULTS, "venues.log"), "w") as log:
            chosen = lambda part: options.only in (None, part)
            row = measured(prefix, options, log) if chosen("load") else None
            tickers = measured_options(prefix, options, log) if chosen("options") else None
            books = [measured_books(venue, prefix, options, log) for venue in BOOKS] if chosen("books") else []
            swaps = measured_swaps(prefix, options, log) if options.only == "swaps" else None
    finally:
        stack.delete_topics(prefix)
    report.write("venues.json", {"machine": report.machine(), "options": vars(options), "result": row, "tickers": tickers, "books": books, "swaps": swaps})
    if swaps:
        print_swaps(swaps)
    if tickers:
        print_options(tickers)
    if books:
        print_books(books)
    is_clean = not any(row["resyncs"] or row["dead_letters"] for row in books)
    is_clean &= tickers is None or not (tickers["reconnects"] or tickers["dead_letters"])
    if row is None:
        return 0 if is_clean else 1
    print("\n| instruments | connections | messages/s | events/s | acknowledged records/s | CPU-us/message | cores of producer, simulator, broker "
          "| socket to Kafka p50, ms | p99, ms | reconnects | gaps | dead letters |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
    print(f"| {row['instruments']:,} | {row['connections']} | {row['messages_per_s']:,.0f} | {row['events_per_s']:,.0f} | {row['published_per_s']:,.0f} "
          f"| {row['cpu_us_per_message']:.1f} | {row['cores']:.2f}, {row['simulator_cores']:.2f}, {row['broker_cores']:.2f} | {row['p50_ms']:.1f} "
          f"| {row['p99_ms']:.1f} | {row['reconnects']} | {row['gaps']} | {row['dead_letters']} |")
    # A gap or a reconnect says that it did not keep up.
    kept_up = row["instruments"] > 1300 and not (row["reconnects"] or row["gaps"] or row["dead_letters"])
    return 0 if kept_up and is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
