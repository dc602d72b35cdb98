export { ADDRESS, type Faults, Network, NO_FAULTS } from "./network.js";
export { typesOf } from "./openapi-types.js";
export { Random } from "./random.js";
export { Server } from "./server.js";
export { pause, until } from "./wait.js";
