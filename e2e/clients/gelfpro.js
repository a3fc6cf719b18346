// Sends lines with gelf-pro: node gelfpro.js 127.0.0.1:12201 MESSAGE...
const log = require("gelf-pro");
const [address, ...messages] = process.argv.slice(2);
const [host, port] = address.split(":");
log.setConfig({ fields: { service: "gelfpro" }, adapterName: "udp", adapterOptions: { host, port: Number(port) } });
let left = messages.length;
for (const m of messages) {
  log.error(m, { order: { id: 17 } }, (err) => {
    if (err) {
      console.error(err);
      process.exitCode = 1;
    }
    if (--left === 0) process.exit();
  });
}
