// The official client and a browser against a running server: node e2e.mjs URL SCREENSHOT
import assert from "node:assert/strict";
import OpenAI, { BadRequestError } from "openai";
import { chromium } from "playwright-core";

const [url, screenshot] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url + "/v1", apiKey: "any", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Who lives in the forest?" }];

const chat = await client.chat.completions.create({ model, messages, temperature: 0, max_completion_tokens: 30 });
assert.equal(chat.choices[0].finish_reason, "length");
assert.equal(chat.usage.completion_tokens, 30);

let text = "", usage;
for await (const chunk of await client.chat.completions.create({
  model, messages, temperature: 0, max_completion_tokens: 30, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, chat.choices[0].message.content);
assert.equal(usage.total_tokens, chat.usage.total_tokens);

const completion = await client.completions.create({ model, prompt: "Once upon a time", max_tokens: 8, n: 2, seed: 3, logprobs: 2 });
assert.equal(completion.choices.length, 2);
assert.equal(completion.choices[0].logprobs.token_logprobs.length, 8);

const schema = { type: "object", required: ["good"], additionalProperties: false, properties: { good: { type: "boolean" } } };
const json = await client.chat.completions.create({
  model, messages, response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } } });
assert.equal(typeof JSON.parse(json.choices[0].message.content).good, "boolean");

await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }),
  e => e instanceof BadRequestError && e.param === "temperature");

const cut = await client.chat.completions.create({ model, messages, stream: true });
for await (const chunk of cut) { if (chunk) break; } // leaving the loop aborts the request
const active = async () => /^gemma_requests_active (\S+)/m.exec(await (await fetch(url + "/metrics")).text())[1];
for (let i = 0; i < 100 && Number(await active()) > 0; i++) await new Promise(r => setTimeout(r, 50));
assert.equal(Number(await active()), 0);
console.log("client: ok");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
try {
  const page = await browser.newPage({ viewport: { width: 800, height: 640 } });
  const errors = [];
  page.on("pageerror", e => errors.push(e));
  await page.goto(url);
  await page.getByLabel("Message").fill("Tell me of the <b>old</b> king");
  await page.keyboard.press("Enter");
  const answer = page.getByRole("article", { name: "Gemma" });
  await page.waitForFunction(() => document.querySelector("article.assistant")?.textContent.length > 40);
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Send" }).waitFor();
  const stopped = await answer.first().textContent();
  await page.waitForTimeout(300);
  assert.equal(await answer.first().textContent(), stopped);
  assert.equal(await page.locator("article.user b").count(), 0); // text stays text
  await page.screenshot({ path: screenshot });
  await page.getByRole("button", { name: "New chat" }).click();
  assert.equal(await page.getByRole("article").count(), 0);

  // An error is told, but the model does not read of it; the message can be sent again.
  const sent = [];
  page.on("request", request => { if (request.method() === "POST") sent.push(request.postDataJSON().messages); });
  const busy = { status: 429, json: { error: { message: "Too many requests" } } };
  await page.route("**/v1/chat/completions", route => route.fulfill(busy), { times: 1 });
  await page.getByLabel("Message").fill("Who is there?");
  await page.keyboard.press("Enter");
  await page.getByRole("article", { name: "Error" }).waitFor();
  assert.equal(await page.getByLabel("Message").inputValue(), "Who is there?");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("article.assistant")?.textContent.length > 10);
  await page.getByRole("button", { name: "Stop" }).click();
  assert.deepEqual(sent[1], [{ role: "user", content: "Who is there?" }]);
  assert.deepEqual(errors, []);
} finally {
  await browser.close();
}
console.log("page: ok, " + screenshot);
