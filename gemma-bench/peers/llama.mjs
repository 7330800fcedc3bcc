// Times llama.cpp through node-llama-cpp as `gemma bench --json` times this library, and prints the same keys:
// node llama.mjs PACKAGES MODEL.gguf THREADS PREFILL DECODE REPEAT. Straight llama_decode calls, no sampling.
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";
import {readFileSync} from "node:fs";

const DECODE_CONTEXT = 128;
const WARM_UP_SECONDS = 2;
const [packages, model, ...numbers] = process.argv.slice(2);
const [threads, prefill, decode, repeat] = numbers.map(Number);
const require = createRequire(pathToFileURL(packages + "/node_modules/"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const seconds = (start) => Number(process.hrtime.bigint() - start) / 1e9;
const now = () => process.hrtime.bigint();

const llama = await getLlama({gpu: false, build: "never", maxThreads: threads, logLevel: "error"});
const start = now();
const loaded = await llama.loadModel({modelPath: model});
const context = await loaded.createContext({
  contextSize: Math.max(prefill, DECODE_CONTEXT + decode) + 64,
  batchSize: Math.max(prefill, DECODE_CONTEXT),
  threads,
  flashAttention: false
});
const load = seconds(start);
// The public API samples as it evaluates; below it is one llama_decode a batch.
const native = context._ctx;
native.setThreads(threads);

let state = 1;
const vocabulary = loaded.fileInfo.metadata.tokenizer.ggml.tokens.length;
const token = () => (state = (state * 1103515245 + 12345) % 2147483648) % vocabulary;
const tokens = (count) => Array.from({length: count}, token);

async function evaluate(ids, position) {
  native.initBatch(ids.length);
  native.addToBatch(0, position, Uint32Array.from(ids), Uint32Array.of(ids.length - 1));
  await native.decodeBatch();
}

async function prefillRate() {
  native.disposeSequence(0);
  const begin = now();
  await evaluate(tokens(prefill), 0);
  return prefill / seconds(begin);
}

async function decodeRate() {
  native.disposeSequence(0);
  await evaluate(tokens(DECODE_CONTEXT), 0);
  const begin = now();
  for (let i = 0; i < decode; i++) {
    await evaluate([token()], DECODE_CONTEXT + i);
  }
  return decode / seconds(begin);
}

async function median(run) {
  const begin = now();
  do {
    await run();
  } while (seconds(begin) < WARM_UP_SECONDS);
  const rates = [];
  for (let i = 0; i < repeat; i++) {
    rates.push(await run());
  }
  rates.sort((a, b) => a - b);
  return (rates[(repeat - 1) >> 1] + rates[repeat >> 1]) / 2;
}

const prefills = await median(prefillRate);
const decodes = await median(decodeRate);
const peak = /VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"));
const version = JSON.parse(readFileSync(packages + "/node_modules/node-llama-cpp/package.json")).version;
console.log(JSON.stringify({
  version: `${llama.llamaCppRelease.release}, node-llama-cpp ${version}`,
  threads: native.getThreads(),
  loadMs: load * 1e3,
  prefill: [{tokens: prefill, tokensPerSecond: prefills}],
  decode: {tokens: decode, tokensPerSecond: decodes},
  peakRssBytes: peak ? Number(peak[1]) * 1024 : 0
}));
process.exit(0);
