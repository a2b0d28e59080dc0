// Puts orders in line and approves them, by the two functions of Towpath's schema.
//
//	go run . enqueue orders 7
//	go run . approve <workflow id> Ada
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const enqueue = `SELECT towpath.enqueue(
	queue => $1, workflow => 'fulfil', args => $2, kwargs => $3,
	priority => 10, deduplication_id => $4, delay_seconds => 0.1)`

const approve = `SELECT towpath.send(workflow_id => $1, message => to_jsonb($2::text), topic => 'approval')`

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, explain(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: go run . enqueue QUEUE ORDER, or go run . approve ID NAME")
	}
	conn, err := pgx.Connect(ctx, os.Getenv("TOWPATH_DATABASE_URL"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if args[0] == "approve" {
		_, err = conn.Exec(ctx, approve, args[1], args[2])
		return err
	}
	id, err := placeOrder(ctx, conn, args[1], args[2])
	if err == nil {
		fmt.Println(id)
	}
	return err
}

// placeOrder enqueues in a transaction: what else it writes commits with the workflow, or neither does.
func placeOrder(ctx context.Context, conn *pgx.Conn, queue, order string) (id string, err error) {
	number, err := strconv.Atoi(order)
	if err != nil {
		return "", err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, enqueue, queue, []any{number}, map[string]any{"express": true}, "order-"+order).Scan(&id)
	})
	return id, err
}

// explain adds what a program may act on: the code tells what happened, the hint what to do.
func explain(err error) string {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err.Error()
	}
	var what string
	switch refused.Code {
	case "TP001", "TP002":
		what = "no such queue, or it is closed"
	case "TP003":
		what = "an argument is not allowed"
	case "TP004":
		what = "the order is in line already"
	case "TP005":
		what = "the id is in use"
	case "TP006":
		what = "no such workflow"
	default:
		return err.Error()
	}
	return fmt.Sprintf("%s (%s): %s %s", what, refused.Code, refused.Message, refused.Hint)
}
