// Puts orders in line and approves them, by the two functions of Towpath's schema.
//
//     node orders.js enqueue orders 7
//     node orders.js approve <workflow id> Ada

import pg from "pg";

const ENQUEUE = `SELECT towpath.enqueue(
  queue => $1, workflow => 'fulfil', args => $2, kwargs => $3,
  priority => 10, deduplication_id => $4, delay_seconds => 0.1) AS id`;

const APPROVE = `SELECT towpath.send(workflow_id => $1, message => to_jsonb($2::text), topic => 'approval')`;

const MEANING = {
  TP001: "no such queue",
  TP002: "the queue is closed",
  TP003: "an argument is not allowed",
  TP004: "the order is in line already",
  TP005: "the id is in use",
  TP006: "no such workflow",
};

// What else is written between BEGIN and COMMIT commits with the workflow, or neither does.
async function placeOrder(client, queue, order) {
  const values = [queue, JSON.stringify([order]), JSON.stringify({ express: true }), `order-${order}`];
  await client.query("BEGIN");
  try {
    const { rows } = await client.query(ENQUEUE, values);
    await client.query("COMMIT");
    return rows[0].id;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
}

// The code tells a program what happened, the hint tells people what to do.
function explain(error) {
  const meaning = MEANING[error.code];
  return meaning ? `${meaning} (${error.code}): ${error.message} ${error.hint ?? ""}` : String(error);
}

async function main([verb, first, second]) {
  if (second === undefined) {
    throw new Error("usage: node orders.js enqueue QUEUE ORDER, or node orders.js approve ID NAME");
  }
  const client = new pg.Client({ connectionString: process.env.TOWPATH_DATABASE_URL });
  await client.connect();
  try {
    if (verb === "approve") {
      await client.query(APPROVE, [first, second]);
    } else {
      console.log(await placeOrder(client, first, Number(second)));
    }
  } finally {
    await client.end();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(explain(error));
  process.exitCode = 1;
});
