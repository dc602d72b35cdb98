export { ADDRESS, type Faults, Network, NO_FAULTS } from "./network.js";
export { typesOf } from "./openapi-types.js";
export { Random } from "./random.js";
export { Server, type ServerOptions, type StoreName, stores } from "./server.js";
export { freePort, pause, until } from "./wait.js";
