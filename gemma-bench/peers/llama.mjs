// Times llama.cpp through node-llama-cpp: straight llama_decode calls, no sampling, no detokenising.
// node llama.mjs PACKAGES MODEL.gguf THREADS PREFILL DECODE REPEAT; prints key=value lines.
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";
import {readFileSync} from "node:fs";

const [packages, model, ...numbers] = process.argv.slice(2);
const [threads, prefill, decode, repeat] = numbers.map(Number);
const require = createRequire(pathToFileURL(packages + "/node_modules/"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const log = [];
const seconds = (start) => Number(process.hrtime.bigint() - start) / 1e9;
const now = () => process.hrtime.bigint();

const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: threads,
  logLevel: "debug",
  logger: (level, message) => log.push(message)
});
let start = now();
const loaded = await llama.loadModel({modelPath: model});
const context = await loaded.createContext({
  contextSize: prefill + decode + 64,
  batchSize: prefill,
  threads,
  flashAttention: false
});
const load = seconds(start);
// The public API samples as it evaluates; below it is one llama_decode a batch.
const native = context._ctx;
native.setThreads(threads);

async function evaluate(tokens, position) {
  native.initBatch(tokens.length);
  native.addToBatch(0, position, Uint32Array.from(tokens), Uint32Array.of(tokens.length - 1));
  await native.decodeBatch();
}

let state = 1;
const token = () => (state = (state * 1103515245 + 12345) % 2147483648) % (llama_vocabulary - 1000) + 500;
const llama_vocabulary = 256000;
const prefills = [];
const decodes = [];
for (let r = 0; r < repeat; r++) {
  native.disposeSequence(0);
  start = now();
  await evaluate(Array.from({length: prefill}, token), 0);
  prefills.push(prefill / seconds(start));
  start = now();
  for (let i = 0; i < decode; i++) {
    await evaluate([token()], prefill + i);
  }
  decodes.push(decode / seconds(start));
}

const peak = /VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"));
const version = JSON.parse(readFileSync(packages + "/node_modules/node-llama-cpp/package.json")).version;
console.log("version=node-llama-cpp " + version);
console.log("threads=" + native.getThreads());
console.log("load=" + load);
console.log("prefill=" + prefills.join(" "));
console.log("decode=" + decodes.join(" "));
console.log("peakRss=" + (peak ? Number(peak[1]) * 1024 : 0));
if (process.env.DEBUG) {
  console.error(log.join("\n"));
}
process.exit(0);
