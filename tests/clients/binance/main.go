// Markets, trades, tickers and COUNT order books of Binance by go-binance, as JSON lines.
//
//	go run . HOST:PORT SYMBOL COUNT
//
// Only the address differs from a client of the real venue. Each line has one key: markets, trade, ticker or book.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/adshao/go-binance/v2"
	"github.com/shopspring/decimal"
)

// A simulator that has not sent what is waited for by then has failed.
const patience = 30 * time.Second

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func say(key string, value any) {
	line, err := json.Marshal(map[string]any{key: value})
	check(err)
	fmt.Println(string(line))
}

// next is the next value of a channel.
func next[T any](values chan T) T {
	select {
	case value := <-values:
		return value
	case <-time.After(patience):
		log.Fatal("nothing came in time")
		panic("unreachable")
	}
}

// side is one side of a book: price to size, as the venue writes them.
type side map[string]string

func (s side) set(price, size string) {
	if decimal.RequireFromString(size).IsZero() {
		delete(s, price)
	} else {
		s[price] = size
	}
}

// levels are in the order of the prices.
func (s side) levels(descending bool) [][2]string {
	levels := make([][2]string, 0, len(s))
	for price, size := range s {
		levels = append(levels, [2]string{price, size})
	}
	sort.Slice(levels, func(i, j int) bool {
		less := decimal.RequireFromString(levels[i][0]).LessThan(decimal.RequireFromString(levels[j][0]))
		return less != descending
	})
	return levels
}

func main() {
	address, symbol := os.Args[1], os.Args[2]
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	client := binance.NewClient("", "")
	client.BaseURL = "http://" + address
	binance.BaseWsMainURL = "ws://" + address + "/ws"
	failed := func(err error) { log.Fatal(err) }

	info, err := client.NewExchangeInfoService().Do(context.Background())
	check(err)
	markets := []string{}
	for _, market := range info.Symbols {
		markets = append(markets, market.BaseAsset+"/"+market.QuoteAsset)
	}
	sort.Strings(markets)
	say("markets", markets)

	trades := make(chan *binance.WsTradeEvent, 10_000)
	_, _, err = binance.WsTradeServe(symbol, func(event *binance.WsTradeEvent) { trades <- event }, failed)
	check(err)
	for range 20 {
		trade := next(trades)
		say("trade", map[string]string{"price": trade.Price, "size": trade.Quantity})
	}

	tickers := make(chan *binance.WsBookTickerEvent, 10_000)
	_, _, err = binance.WsBookTickerServe(symbol, func(event *binance.WsBookTickerEvent) { tickers <- event }, failed)
	check(err)
	ticker, last := next(tickers), next(trades)
	say("ticker", map[string]string{"last": last.Price, "bid": ticker.BestBidPrice, "ask": ticker.BestAskPrice})

	// The venue's procedure for a local book.
	updates := make(chan *binance.WsDepthEvent, 10_000)
	_, _, err = binance.WsDepthServe100Ms(symbol, func(event *binance.WsDepthEvent) { updates <- event }, failed)
	check(err)
	update := next(updates)
	snapshot, err := client.NewDepthService().Symbol(symbol).Limit(1000).Do(context.Background())
	check(err)
	if snapshot.LastUpdateID < update.FirstUpdateID-1 {
		log.Fatalf("the snapshot of %d is older than the update from %d", snapshot.LastUpdateID, update.FirstUpdateID)
	}
	bids, asks := side{}, side{}
	for _, bid := range snapshot.Bids {
		bids.set(bid.Price, bid.Quantity)
	}
	for _, ask := range snapshot.Asks {
		asks.set(ask.Price, ask.Quantity)
	}
	at := snapshot.LastUpdateID
	for said := 0; said < count; update = next(updates) {
		if update.LastUpdateID <= snapshot.LastUpdateID {
			continue
		}
		isFirst := said == 0
		if update.FirstUpdateID > at+1 || (!isFirst && update.FirstUpdateID != at+1) {
			log.Fatalf("the update from %d does not follow %d", update.FirstUpdateID, at)
		}
		for _, bid := range update.Bids {
			bids.set(bid.Price, bid.Quantity)
		}
		for _, ask := range update.Asks {
			asks.set(ask.Price, ask.Quantity)
		}
		at = update.LastUpdateID
		said++
		say("book", map[string]any{"bids": bids.levels(true), "asks": asks.levels(false)})
	}
}
